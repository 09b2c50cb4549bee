"""The first page: is the server ready, and how to begin."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from llamagpu.http.permissions import Public, declare_access
from monitoring.configuration import current
from monitoring.health import check_health


@declare_access(Public("The first page says whether the server is ready and how to begin."))
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    failing = [f"{probe.name}: {probe.detail}" for probe in check_health() if not probe.healthy]
    context = {
        "reasons": failing,
        "model": current().default_model,
        "admin": settings.LLAMA.admin_username,
        "base_url": request.build_absolute_uri("/").rstrip("/"),
    }
    return render(request, "monitoring/home.html", context)
