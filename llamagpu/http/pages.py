"""Pages keep their declared access themselves: REST framework's door does not stand before them.

A class-based page extends `PageView`; a function marked with `declare_access` is guarded by it.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.views import View

from llamagpu.http import error_views
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Declaration, Public, allows, rule_for


class PageView(View):
    """A page of the portal. Subclasses set `access`; only sessions count, a key opens no page.

    An AppError that a handler lets through becomes an error page.
    """

    access: Declaration

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refusal = refuse(self, request)
        if refusal is not None:
            return refusal
        try:
            return super().dispatch(request, *args, **kwargs)
        except AppError as error:
            return error_views.answer(request, error)


def refuse(view: object, request: HttpRequest) -> HttpResponseBase | None:
    """None where the caller may pass. Strangers are sent to sign in; raises PermissionDenied else."""
    rule = rule_for(view, request.method or "")
    if isinstance(rule, Public):
        return None
    user = getattr(request, "user", None)
    if allows(rule, user, None):
        return None
    if user is not None and user.is_authenticated:
        raise PermissionDenied
    return to_sign_in(request)


def to_sign_in(request: HttpRequest) -> HttpResponseRedirect:
    """To the sign-in page and afterwards back here, where here can be visited."""
    address = resolve_url(settings.LOGIN_URL)
    if request.method in ("GET", "HEAD"):
        address += "?" + urlencode({"next": request.get_full_path()})
    return HttpResponseRedirect(address)
