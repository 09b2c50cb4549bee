"""The first page: for people who may see figures what goes on now, for strangers how to begin."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_safe

from llamagpu.http.permissions import INFER, READ_MONITORING, Public, allows, declare_access
from monitoring.configuration import current
from monitoring.health import check_health
from monitoring.models import Alert

#: Time frames of the charts: what the API calls them, and what the page does.
RANGES = (
    ("live", gettext_noop("Live")),
    ("1h", "1 h"),
    ("6h", "6 h"),
    ("24h", "24 h"),
    ("7d", gettext_noop("7 d")),
)
#: Charts by the name that the page's script knows them by.
CHARTS = (
    ("machine", gettext_noop("Processor and memory")),
    ("gpu", gettext_noop("GPU")),
    ("traffic", gettext_noop("Requests and tokens a second")),
    ("ttft", gettext_noop("Time to the first token")),
    ("latency", gettext_noop("Whole requests")),
    ("queue", gettext_noop("Running and waiting")),
)
_MOST_ALERTS = 5


@declare_access(Public("The first page says whether the server is ready and how to begin."))
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    part, may_watch = request.GET.get("part"), allows(READ_MONITORING, request.user, None)
    if part == "alerts":
        return render(request, "monitoring/overview_alerts.html", {"alerts": _firing(may_watch)})
    failing = [f"{probe.name}: {probe.detail}" for probe in check_health() if not probe.healthy]
    context = {
        "reasons": failing,
        "model": current().default_model,
        "admin": settings.LLAMA.admin_username,
        "base_url": request.build_absolute_uri("/").rstrip("/"),
    }
    if part == "health":
        return render(request, "monitoring/overview_health.html", context)
    if may_watch:
        shown = context | {
            "ranges": RANGES,
            "charts": CHARTS,
            "alerts": _firing(may_watch),
            "first_steps": _first_steps(request),
        }
        return render(request, "monitoring/overview.html", shown)
    return render(request, "monitoring/home.html", context)


def _firing(may_watch: bool) -> list[Alert]:
    """The newest alerts that fire, for who may see them."""
    return list(Alert.objects.firing()[:_MOST_ALERTS]) if may_watch else []


def _first_steps(request: HttpRequest) -> str:
    """The cookie that keeps the guide away from now on; nothing where it has no place."""
    # Known before the page is drawn, so that nothing moves when it appears or stays away.
    cookie = f"llamagpu-first-steps-{request.user.pk}"
    is_wanted = allows(INFER, request.user, None) and cookie not in request.COOKIES
    return cookie if is_wanted else ""
