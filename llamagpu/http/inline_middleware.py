"""Django's and others' middlewares, run where the request is instead of in a thread.

Under ASGI their common base sends each `process_request` and `process_response` through a thread of its
own, which costs more than the step itself. Those here only compute: they run on the event loop. What a
browser's session needs, and reads or writes a database for, is left out where a key comes with the
request: a call with a key never falls back to a cookie.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from asgiref.sync import sync_to_async
from csp.middleware import CSPMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest, HttpResponseBase
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.common import CommonMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware

from llamagpu.http.programs import is_api


def carries_key(request: HttpRequest) -> bool:
    """Whether a program calls the API, with a key of its own: no session is looked at then."""
    if not is_api(request.path_info):
        return False
    # Another scheme is no key: a proxy's own, which browsers send along with their cookie.
    scheme = request.META.get("HTTP_AUTHORIZATION", "").strip()[:6].lower()
    return scheme == "bearer" or "HTTP_X_API_KEY" in request.META


class _Inline:
    """Its steps only compute."""

    get_response: Any

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        steps: Any = self
        response = steps.process_request(request) if hasattr(self, "process_request") else None
        if response is None:
            response = await self.get_response(request)
        if hasattr(self, "process_response"):
            response = steps.process_response(request, response)
        return response


class _ForSessions:
    """Does nothing where a key comes with the request."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if carries_key(request):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class InlineSecurityMiddleware(_Inline, SecurityMiddleware):
    pass


class InlineCSPMiddleware(_Inline, CSPMiddleware):
    pass


class InlineCommonMiddleware(_Inline, CommonMiddleware):
    pass


class InlineXFrameOptionsMiddleware(_Inline, XFrameOptionsMiddleware):
    pass


class KeylessSessionMiddleware(_ForSessions, SessionMiddleware):
    pass


class KeylessAuthenticationMiddleware(_ForSessions, _Inline, AuthenticationMiddleware):
    pass


class KeylessMessageMiddleware(_ForSessions, MessageMiddleware):
    pass


class KeylessCsrfViewMiddleware(_ForSessions, _Inline, CsrfViewMiddleware):
    """As Django's. Views of the API are exempt from it: REST framework checks their sessions itself."""

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if self.async_mode:
            self.process_view = self._process_view_inline  # type: ignore[assignment, method-assign]

    async def _process_view_inline(
        self, request: HttpRequest, callback: Any, args: Any, kwargs: Any
    ) -> Any:
        if carries_key(request) or getattr(callback, "csrf_exempt", False):
            return None
        check = super().process_view
        return await sync_to_async(check, thread_sensitive=True)(request, callback, args, kwargs)
