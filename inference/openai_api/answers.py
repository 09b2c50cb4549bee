"""Stage 7/7 of the OpenAI door, its second half: one JSON body, or Server-Sent Events.

What they look like, `shape.py` and its kind say.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

from inference.api.overhead import tell_overhead_so_far
from inference.api.responses import JOB_ID_HEADER
from inference.metrics import OVERHEAD
from inference.openai_api.events import Item, follow_all
from inference.openai_api.shape import Answer, Writer
from inference.openai_api.submission import Submitted
from inference.protocol import DoneEvent, ErrorEvent, Timings
from llamagpu.http.errors import AppError
from llamagpu.http.openai_errors import openai_response

_SSE_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
_HEARTBEAT_AFTER = 10.0
#: Seconds for which a stream waits with its status: what fails sooner gets one that says so.
STATUS_PATIENCE = 5.0


async def collect(request: HttpRequest, submitted: Submitted, answer: Answer) -> HttpResponseBase:
    """Wait for all jobs and answer with one body. Leaving early (cancellation) ends them."""
    ended: dict[int, DoneEvent] = {}
    async with aclosing(follow_all(submitted)) as items:
        async for item in items:
            if item is not None and isinstance(item[1], ErrorEvent):
                return openai_response(request, answer.error_of(item[1]))
            if item is not None and isinstance(item[1], DoneEvent):
                ended[item[0]] = item[1]
    try:
        body = answer.body(submitted, [ended[number] for number in range(len(ended))])
    except AppError as error:
        return openai_response(request, error)
    elapsed = time.perf_counter() - request.received_at  # type: ignore[attr-defined]
    overhead = max(0.0, elapsed - _engine_time([done.timings for done in ended.values()]))
    OVERHEAD.observe(overhead, door="openai")
    headers = _job_headers(submitted) | {
        "openai-processing-ms": str(round(elapsed * 1000)),
        "X-LlamaGPU-Overhead-Ms": f"{overhead * 1000:.1f}",
    }
    return JsonResponse(body, headers=headers, json_dumps_params={"ensure_ascii": False})


async def stream(request: HttpRequest, submitted: Submitted, answer: Answer) -> HttpResponseBase:
    """Chunks as they come; what fails before the first of them is an answer with its own status."""
    tell_overhead_so_far(request)
    items = follow_all(submitted)
    first: Item = None
    waited_since = time.monotonic()
    async for first in items:
        if first is not None or time.monotonic() - waited_since > STATUS_PATIENCE:
            break
    if first is not None and isinstance(first[1], ErrorEvent):
        await items.aclose()
        return openai_response(request, answer.error_of(first[1]))
    elapsed = time.perf_counter() - request.received_at  # type: ignore[attr-defined]
    return StreamingHttpResponse(
        _frames(items, first, answer.writer(submitted)),
        content_type="text/event-stream",
        headers=_SSE_HEADERS
        | _job_headers(submitted)
        | {"openai-processing-ms": str(round(elapsed * 1000))},
    )


def _job_headers(submitted: Submitted) -> dict[str, str]:
    """Which jobs make the answer, in the order of the call's prompts."""
    return {JOB_ID_HEADER: ", ".join(job.job_id for job in submitted.jobs)}


async def _frames(
    items: AsyncGenerator[Item, None], first: Item, writer: Writer
) -> AsyncIterator[bytes]:
    sent_at = time.monotonic()
    try:
        async with aclosing(_with_first(first, items)) as rest:
            async for item in rest:
                for frame in () if item is None else writer.frames_of(*item):
                    sent_at = time.monotonic()
                    yield frame.encode()
                if time.monotonic() - sent_at >= _HEARTBEAT_AFTER:
                    sent_at = time.monotonic()
                    yield b": ping\n\n"
    except AppError as error:
        for frame in writer.break_off(error):
            yield frame.encode()
        return
    for frame in writer.end():
        yield frame.encode()


async def _with_first(first: Item, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    try:
        yield first
        async for item in items:
            yield item
    finally:
        await items.aclose()


def _engine_time(timings: list[Timings]) -> float:
    """Jobs of one call run side by side: the longest counts."""
    return max((item.engine_time for item in timings), default=0.0)
