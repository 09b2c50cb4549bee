"""Stage 7/7: a job's events become one JSON body or Server-Sent Events.

The worker settles the job's row before its terminal event, so whoever has the answer finds the row.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from inference.metrics import OVERHEAD
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    RestartEvent,
    StreamEvent,
    TokenEvent,
    TokenLogprob,
    Usage,
)
from inference.stream import Events, Position, is_terminal
from llamagpu.http.errors import AppError, error_body, error_response, request_id_of

_SSE_HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
#: Names the job of an answer, before a stream's first event too.
JOB_ID_HEADER = "X-Job-ID"
_PIECE_FRAME = 'id: {}\ndata: {{"token": {}, "position": {}, "is_complete": false}}\n\n'
_RETRY_HINT_MS = 1000
_HEARTBEAT_AFTER = 10.0


async def collect(request: HttpRequest, job_id: str, items: Events) -> HttpResponse:
    """Wait for the end of a job, whose events `items` are, and answer with it."""
    end: StreamEvent | None = None
    # To their end, where whoever follows the job lets go of it. Leaving early closes them.
    async with aclosing(items):
        async for item in items:
            if item is not None and is_terminal(item[1]):
                end = item[1]
    if isinstance(end, DoneEvent):
        return _whole_answer(request, job_id, end)
    if isinstance(end, ErrorEvent):
        response = error_response(request, AppError(end.code, end.message))
        response[JOB_ID_HEADER] = job_id
        return response
    raise AssertionError("the events ended without a terminal one")


def stream_events(request: HttpRequest, job_id: str, items: Events) -> StreamingHttpResponse:
    """Events of a job as Server-Sent Events; None is a moment without news."""
    return StreamingHttpResponse(
        _sse_events(request, items),
        content_type="text/event-stream",
        headers=_SSE_HEADERS | {JOB_ID_HEADER: job_id},
    )


async def _sse_events(request: HttpRequest, items: Events) -> AsyncIterator[bytes]:
    request_id = request_id_of(request)
    yield b"retry: %d\n\n" % _RETRY_HINT_MS
    position, sent_at = -1, time.monotonic()
    async for item in items:
        if item is not None:
            place, event = item
            if isinstance(event, TokenEvent):
                position = event.position
            if not (isinstance(event, TokenEvent) and event.is_empty):
                sent_at = time.monotonic()
                yield _sse_frame(request_id, place, event, position)
                continue
        if time.monotonic() - sent_at >= _HEARTBEAT_AFTER:
            sent_at = time.monotonic()
            yield b": heartbeat\n\n"


def _sse_frame(request_id: str, place: Position, event: StreamEvent, position: int) -> bytes:
    if isinstance(event, TokenEvent) and not event.logprobs:
        # Nearly all of them: as below, in a third of the time (1.0 of 3.4 µs).
        return _PIECE_FRAME.format(place, encode_basestring(event.text), event.position).encode()
    name, data = event_data(request_id, event, position)
    head = f"event: {name}\n" if name else ""
    return f"id: {place}\n{head}data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def event_data(request_id: str, event: StreamEvent, position: int) -> tuple[str, dict[str, Any]]:
    """An event's name, empty for what is said of the answer itself, and what it tells a caller.

    `position` is that of the last token, which the end names.
    """
    if isinstance(event, TokenEvent):
        data: dict[str, Any] = {
            "token": event.text,
            "position": event.position,
            "is_complete": False,
        }
        if event.logprobs:
            data["logprobs"] = _logprobs(event.logprobs)
        return "", data
    if isinstance(event, RestartEvent):
        return "restart", {"attempt": event.attempt}
    if isinstance(event, DoneEvent):
        return "", {
            "token": "",
            "position": position,
            "is_complete": True,
            "final_text": event.text,
            "finish_reason": str(event.finish_reason),
            "usage": usage_fields(event.usage),
        }
    return "error", error_body(request_id, event.code, event.message)


def _whole_answer(request: HttpRequest, job_id: str, done: DoneEvent) -> HttpResponse:
    elapsed = time.perf_counter() - request.received_at  # type: ignore[attr-defined]
    result: dict[str, Any] = {
        "generated_text": done.text,
        "tokens_generated": done.usage.completion_tokens,
        "inference_time": done.timings.inference_time,
        "model_used": done.model,
        "backend": done.backend,
        "finish_reason": str(done.finish_reason),
    }
    if done.logprobs is not None:
        result["logprobs"] = _logprobs(done.logprobs)
    metadata = {
        "request_id": request_id_of(request),
        "job_id": job_id,
        "timestamp": datetime.now(tz=UTC).isoformat(),
        "processing_time": elapsed,
        "queue_time": done.timings.queue_time,
        "usage": usage_fields(done.usage),
        "plugins": list(dict.fromkeys(done.plugins)),
    }
    overhead = max(0.0, elapsed - done.timings.engine_time)
    OVERHEAD.observe(overhead, door="api")
    return JsonResponse(
        {"success": True, "result": result, "metadata": metadata},
        headers={"X-LlamaGPU-Overhead-Ms": f"{overhead * 1000:.1f}", JOB_ID_HEADER: job_id},
        json_dumps_params={"ensure_ascii": False},
    )


def usage_fields(usage: Usage) -> dict[str, int]:
    """`is_estimated` stands there only where it is true: an upstream has not told its counts."""
    fields = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "cached_tokens": usage.cached_tokens,
    }
    return {**fields, "is_estimated": True} if usage.is_estimated else fields


def _logprobs(items: tuple[TokenLogprob, ...]) -> list[dict[str, Any]]:
    return [
        {
            "token": item.token,
            "logprob": item.logprob,
            "top_logprobs": [{"token": token, "logprob": value} for token, value in item.top],
        }
        for item in items
    ]
