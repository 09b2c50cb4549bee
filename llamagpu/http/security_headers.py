"""Headers by which browsers keep other sites, and features that we do not use, away from ours.

Django's SecurityMiddleware and django-csp add theirs (nosniff, referrer, opener, HSTS, CSP).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

_UNUSED = ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
HEADERS = {
    "Permissions-Policy": ", ".join(f"{feature}=()" for feature in _UNUSED),
    # What is fetched with CORS is not touched by it: only embedding by other sites is.
    "Cross-Origin-Resource-Policy": "same-origin",
}

Handler = (
    Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]
)


@sync_and_async_middleware
def security_headers_middleware(get_response: Handler) -> Handler:
    if iscoroutinefunction(get_response):

        async def serve(request: HttpRequest) -> HttpResponseBase:
            return _with_headers(await get_response(request))

        return serve

    def serve_sync(request: HttpRequest) -> HttpResponseBase:
        return _with_headers(get_response(request))  # type: ignore[arg-type]

    return serve_sync


def _with_headers(response: HttpResponseBase) -> HttpResponseBase:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response
