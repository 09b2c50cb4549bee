"""The calls of `/ws/infer/`: the views of REST, entered from a socket.

So rights, limits, validation, idempotency, quotas, refusals and their audit are the same code. No address
leads to these views; what their answers would stream goes to the socket instead.
"""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBase
from django.urls import ResolverMatch
from rest_framework.request import Request

from accounts.api.socket_authentication import SocketAuthentication
from inference.api.event_views import JobEventsView, events_after
from inference.api.job_views import JobView
from inference.api.serializers import StreamInferSerializer
from inference.api.views import Asked, PendingAnswer, StreamInferView, ask
from inference.stream import Position
from llamagpu.http.origin import Origin, current_origin
from llamagpu.http.request_context import request_context_middleware
from llamagpu.http.sockets.caller import SocketCaller

ROUTE = "ws/infer/"


class SocketInferView(StreamInferView):
    authentication_classes = [SocketAuthentication]

    def post(self, request: Request) -> HttpResponseBase:
        return PendingAnswer(ask(request, StreamInferSerializer, is_streamed=True))


class SocketEventsView(JobEventsView):
    authentication_classes = [SocketAuthentication]

    def get(self, request: Request, job_id: uuid.UUID) -> HttpResponseBase:
        cursor: str = request._request.cursor  # type: ignore[attr-defined]
        events = events_after(request, job_id, Position.parse(cursor) if cursor else Position())
        if events is None:
            return HttpResponse(status=204)
        return PendingAnswer(Asked(str(job_id), events))


class SocketJobView(JobView):
    authentication_classes = [SocketAuthentication]


_infer, _events, _job = (
    view.as_view() for view in (SocketInferView, SocketEventsView, SocketJobView)
)


def infer(
    caller: SocketCaller, body: bytes, idempotency_key: str | None, traceparent: str = ""
) -> Any:
    """As POST /api/stream_infer: a PendingAnswer, or an answer whose `data` is an error envelope.

    Raises AppError where the caller may not call any more.
    """
    headers = [] if idempotency_key is None else [(b"idempotency-key", _latin(idempotency_key))]
    if traceparent:
        headers.append((b"traceparent", _latin(traceparent)))
    # An `Idempotency-Key` means the same call over either door.
    return _call(caller, _infer, "POST", "/api/stream_infer", body, headers)


def resume(caller: SocketCaller, job_id: uuid.UUID, cursor: str) -> Any:
    """As GET /api/jobs/{id}/events; an answer of 204 where nothing follows `cursor`."""
    path = f"/api/jobs/{job_id}/events"
    return _call(caller, _events, "GET", path, cursor=cursor, job_id=job_id)


def cancel(caller: SocketCaller, job_id: uuid.UUID) -> Any:
    """As DELETE /api/jobs/{id}."""
    return _call(caller, _job, "DELETE", f"/api/jobs/{job_id}", job_id=job_id)


def _call(
    caller: SocketCaller,
    view: Any,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Iterable[tuple[bytes, bytes]] = (),
    cursor: str = "",
    **parameters: Any,
) -> HttpResponseBase:
    kind, length = (b"content-type", b"application/json"), str(len(body)).encode()
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [kind, (b"content-length", length), *headers],
        "client": (caller.peer, 0) if caller.peer else None,
    }
    request: Any = ASGIRequest(scope, io.BytesIO(body))
    request.path_info = f"/{ROUTE}"
    request.cursor = cursor
    request.resolver_match = ResolverMatch(view, (), parameters, route=ROUTE)

    def answer(request: Any) -> HttpResponseBase:
        fresh = request.socket_caller = caller.look_again()
        prefix = fresh.key.prefix if fresh.key is not None else ""
        current_origin.set(Origin(peer=caller.peer, key_prefix=prefix))
        response: HttpResponseBase = view(request, **parameters)
        return response

    serve = request_context_middleware(answer)
    response: HttpResponseBase = serve(request)  # type: ignore[assignment]
    return response


def _latin(text: str) -> bytes:
    """As a header; what is no ASCII is refused as such."""
    return text.encode("latin-1", "replace")
