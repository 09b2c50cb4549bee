"""Each request as a span of the caller's trace, or of a new one. Nothing where tracing is off."""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponseBase

from llamagpu.lib import tracing

_QUIET = ("/static/", "/livez", "/readyz", "/metrics")


def begin(request: HttpRequest) -> None:
    tracer = tracing.tracer()
    if tracer is None or request.path.startswith(_QUIET):
        return
    offered = request.headers.get("traceparent", "")
    attributes = {
        "http.request.method": request.method or "",
        "url.path": request.path,
        "llamagpu.request.id": request.request_id,  # type: ignore[attr-defined]
    }
    now = time.time()
    span = tracer.begin(
        request.method or "",
        parent=offered if tracing.is_traceparent(offered) else "",
        attributes=attributes,
        is_server=True,
        at=now,
    )
    call = tracing.CallTrace(span, now)
    request.call_trace = call, tracing.current_call.set(call)  # type: ignore[attr-defined]


def leave(request: HttpRequest) -> None:
    """The context serves something else from now on."""
    if tracing.tracer() is not None and hasattr(request, "call_trace"):
        tracing.current_call.reset(request.call_trace[1])


def end(request: HttpRequest, response: HttpResponseBase | None) -> None:
    """At the head of the answer: a stream goes on after it. None: there is no answer."""
    if tracing.tracer() is None or not hasattr(request, "call_trace"):
        return
    call: tracing.CallTrace = request.call_trace[0]
    now = time.time()
    if call.admitted_at is not None:
        tracing.record("response", call.admitted_at, now, call.span.traceparent)
    status = response.status_code if response is not None else 500
    match = request.resolver_match
    attributes: dict[str, str | int | float | bool | list[str]] = {
        "http.response.status_code": status
    }
    name = request.method or ""
    if match is not None:
        attributes["http.route"] = f"/{match.route}"
        name += f" /{match.route}"  # not the path: names of spans are few
    call.span.end(attributes, name=name, error=str(status) if status >= 500 else "", at=now)
