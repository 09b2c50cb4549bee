"""What a browser shows when the server cannot be reached: a page that it has kept, and what keeps it."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_safe

from llamagpu.http.permissions import Public, declare_access

_SCRIPT = Path("llamagpu/js/service_worker.js")


@declare_access(Public("Browsers keep it before anybody signs in; it says only that we are away."))
@require_safe
def offline(request: HttpRequest) -> HttpResponse:
    return render(request, "llamagpu/offline.html")


@declare_access(Public("The script that keeps the offline page; the same for everybody."))
@require_safe
@cache_control(no_cache=True)
def service_worker(request: HttpRequest) -> HttpResponse:
    """At the root of the site: from under /static/ it could not see the pages."""
    script = (settings.BASE_DIR / "static" / _SCRIPT).read_text()
    return HttpResponse(script, content_type="text/javascript")


urlpatterns = [
    path("offline", offline, name="offline"),
    path("service-worker.js", service_worker, name="service-worker"),
]
