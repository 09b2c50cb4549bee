"""Gives every request an id and every answer `X-Request-ID`; the log lines between carry it."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from llamagpu.lib.log_format import current_request_id

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")

Handler = (
    Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]
)


def assign_request_id(request: HttpRequest) -> str:
    """The caller's own id where it is harmless, else a fresh one; notes the time of arrival."""
    offered = request.headers.get("X-Request-ID", "")
    request_id = offered if _ACCEPTED.fullmatch(offered) else f"req_{secrets.token_hex(12)}"
    request.request_id = request_id  # type: ignore[attr-defined]
    request.received_at = time.perf_counter()  # type: ignore[attr-defined]
    return request_id


@sync_and_async_middleware
def request_id_middleware(get_response: Handler) -> Handler:
    if iscoroutinefunction(get_response):

        async def serve(request: HttpRequest) -> HttpResponseBase:
            token = current_request_id.set(assign_request_id(request))
            try:
                response: HttpResponseBase = await get_response(request)
            finally:
                current_request_id.reset(token)
            response.headers["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
            return response

        return serve

    def serve_sync(request: HttpRequest) -> HttpResponseBase:
        token = current_request_id.set(assign_request_id(request))
        try:
            response = get_response(request)
        finally:
            current_request_id.reset(token)
        response.headers["X-Request-ID"] = request.request_id  # type: ignore[attr-defined,union-attr]
        return response  # type: ignore[return-value]

    return serve_sync
