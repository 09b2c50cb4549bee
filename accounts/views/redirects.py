"""Where to go after a sign-in: only within this site."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme


def safe_next(request: HttpRequest, wanted: str | None = None) -> str:
    """`wanted`, else the request's `next`, where it stays on this site; else an empty string."""
    if wanted is None:
        wanted = request.POST.get("next", request.GET.get("next", ""))
    allowed = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if allowed else ""


def after_sign_in(request: HttpRequest, wanted: str | None = None) -> str:
    """The address to show to who has just signed in."""
    return safe_next(request, wanted) or resolve_url(settings.LOGIN_REDIRECT_URL)
