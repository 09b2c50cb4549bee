"""Gives every request an id, its origin and room for headers of the answer.

Every answer carries `X-Request-ID` and whatever stands in `request.answer_headers`; log lines and
audit rows written meanwhile know id and origin.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextvars import Token

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from llamagpu.http import request_trace
from llamagpu.http.origin import Origin, current_origin, peer_address
from llamagpu.lib.log_format import current_request_id

logger = logging.getLogger(__name__)

_ACCEPTED = re.compile(r"[A-Za-z0-9._-]{1,64}")

#: Told of every answer, with the seconds from the request's arrival to its head. It must not block.
AnswerListener = Callable[[HttpRequest, HttpResponseBase, float], None]

_listeners: list[AnswerListener] = []

Handler = (
    Callable[[HttpRequest], HttpResponseBase] | Callable[[HttpRequest], Awaitable[HttpResponseBase]]
)
_Tokens = tuple[Token[str], Token[Origin]]


@sync_and_async_middleware
def request_context_middleware(get_response: Handler) -> Handler:
    if iscoroutinefunction(get_response):

        async def serve(request: HttpRequest) -> HttpResponseBase:
            tokens = _enter(request)
            try:
                response: HttpResponseBase = await get_response(request)
            finally:
                _leave(tokens)
                request_trace.leave(request)
            return _with_headers(request, response)

        return serve

    def serve_sync(request: HttpRequest) -> HttpResponseBase:
        tokens = _enter(request)
        try:
            response = get_response(request)
        finally:
            _leave(tokens)
            request_trace.leave(request)
        return _with_headers(request, response)  # type: ignore[arg-type]

    return serve_sync


def add_answer_listener(listener: AnswerListener) -> None:
    if listener not in _listeners:
        _listeners.append(listener)


def assign_request_id(request: HttpRequest) -> str:
    """The caller's own id where it is harmless, else a fresh one; notes the time of arrival."""
    offered = request.headers.get("X-Request-ID", "")
    request_id = offered if _ACCEPTED.fullmatch(offered) else f"req_{secrets.token_hex(12)}"
    request.request_id = request_id  # type: ignore[attr-defined]
    request.received_at = time.perf_counter()  # type: ignore[attr-defined]
    request.answer_headers = {}  # type: ignore[attr-defined]
    return request_id


def _enter(request: HttpRequest) -> _Tokens:
    request_id = current_request_id.set(assign_request_id(request))
    request_trace.begin(request)
    return request_id, current_origin.set(Origin(peer=peer_address(request)))


def _leave(tokens: _Tokens) -> None:
    current_request_id.reset(tokens[0])
    current_origin.reset(tokens[1])


def _with_headers(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    response.headers["X-Request-ID"] = request.request_id  # type: ignore[attr-defined]
    for name, value in request.answer_headers.items():  # type: ignore[attr-defined]
        response.headers[name] = value
    _tell(request, response)
    request_trace.end(request, response)
    return response


def _tell(request: HttpRequest, response: HttpResponseBase) -> None:
    seconds = time.perf_counter() - request.received_at  # type: ignore[attr-defined]
    for listener in _listeners:
        try:
            listener(request, response, seconds)
        except Exception:
            logger.exception("an answer could not be noted")
