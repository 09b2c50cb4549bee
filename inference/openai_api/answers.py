"""Stage 7/7 of the OpenAI door, its second half: one JSON body, or chunks as Server-Sent Events.

`Shape` says what differs between chat and plain completions; the rest is the same for both.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse, StreamingHttpResponse

from inference.openai_api.events import Item, SentAnswers, choices_of, follow_all, sum_of
from inference.openai_api.submission import Submitted
from inference.protocol import (
    Choice,
    DoneEvent,
    ErrorEvent,
    RestartEvent,
    StreamEvent,
    Timings,
    TokenEvent,
    TokenLogprob,
    Usage,
)
from llamagpu.http.errors import AppError
from llamagpu.http.openai_errors import openai_error, openai_response

_SSE_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
_HEARTBEAT_AFTER = 10.0
#: Seconds for which a stream waits with its status: what fails sooner gets one that says so.
STATUS_PATIENCE = 5.0


class Shape(ABC):
    """What the answers of one call look like. `index` counts over all answers of the call."""

    id_prefix: str
    object: str
    chunk_object: str

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self.model = model
        self.include_usage = include_usage

    def opening(self, index: int) -> list[dict[str, Any]]:
        """Choices of the chunks before an answer's first text."""
        return []

    @abstractmethod
    def pieces(
        self, index: int, text: str, logprobs: tuple[TokenLogprob, ...]
    ) -> list[dict[str, Any]]:
        """Choices of the chunks that carry newly made text."""

    @abstractmethod
    def ending(self, index: int, choice: Choice) -> list[dict[str, Any]]:
        """Choices of an answer's last chunks."""

    def error_of(self, event: ErrorEvent) -> AppError:
        """What the caller is told of a job's failure."""
        return AppError(event.code, event.message)

    @abstractmethod
    def whole(self, index: int, choice: Choice) -> dict[str, Any]:
        """One answer in one piece."""


async def collect(request: HttpRequest, submitted: Submitted, shape: Shape) -> HttpResponseBase:
    """Wait for all jobs and answer with one body. Leaving early (cancellation) ends them."""
    ended: dict[int, DoneEvent] = {}
    async with aclosing(follow_all(submitted)) as items:
        async for item in items:
            if item is not None and isinstance(item[1], ErrorEvent):
                return openai_response(request, shape.error_of(item[1]))
            if item is not None and isinstance(item[1], DoneEvent):
                ended[item[0]] = item[1]
    n = submitted.jobs[0].params.n
    choices = [
        shape.whole(number * n + choice.index, choice)
        for number in range(len(ended))
        for choice in choices_of(ended[number])
    ]
    usage = sum_of([done.usage for done in ended.values()])
    body = {
        **_head(submitted, shape, shape.object),
        "choices": choices,
        "usage": usage_fields(usage),
    }
    elapsed = time.perf_counter() - request.received_at  # type: ignore[attr-defined]
    overhead = max(0.0, elapsed - _engine_time([done.timings for done in ended.values()]))
    headers = {
        "openai-processing-ms": str(round(elapsed * 1000)),
        "X-LlamaGPU-Overhead-Ms": f"{overhead * 1000:.1f}",
    }
    return JsonResponse(body, headers=headers, json_dumps_params={"ensure_ascii": False})


async def stream(request: HttpRequest, submitted: Submitted, shape: Shape) -> HttpResponseBase:
    """Chunks as they come; what fails before the first of them is an answer with its own status."""
    items = follow_all(submitted)
    first: Item = None
    waited_since = time.monotonic()
    async for first in items:
        if first is not None or time.monotonic() - waited_since > STATUS_PATIENCE:
            break
    if first is not None and isinstance(first[1], ErrorEvent):
        await items.aclose()
        return openai_response(request, shape.error_of(first[1]))
    return StreamingHttpResponse(
        _frames(items, first, submitted, shape),
        content_type="text/event-stream",
        headers=_SSE_HEADERS,
    )


async def _frames(
    items: AsyncGenerator[Item, None], first: Item, submitted: Submitted, shape: Shape
) -> AsyncIterator[str]:
    writer = _ChunkWriter(submitted, shape)
    sent_at = time.monotonic()
    try:
        async with aclosing(_with_first(first, items)) as rest:
            async for item in rest:
                if item is None:
                    if time.monotonic() - sent_at >= _HEARTBEAT_AFTER:
                        sent_at = time.monotonic()
                        yield ": ping\n\n"
                    continue
                sent_at = time.monotonic()
                for frame in writer.frames_of(*item):
                    yield frame
    except AppError as error:
        yield _frame(openai_error(error))
        return
    for frame in writer.end():
        yield frame


async def _with_first(first: Item, items: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
    try:
        yield first
        async for item in items:
            yield item
    finally:
        await items.aclose()


class _ChunkWriter:
    """Turns the events of a call's jobs into frames."""

    def __init__(self, submitted: Submitted, shape: Shape) -> None:
        self._shape = shape
        self._n = submitted.jobs[0].params.n
        self._head = _head(submitted, shape, shape.chunk_object)
        self._sent = SentAnswers()
        self._opened: set[int] = set()
        self._usages: list[Usage] = []

    def frames_of(self, job: int, event: StreamEvent) -> list[str]:
        """Raises AppError where the stream must break off."""
        match event:
            case TokenEvent():
                answer = self._sent.of(job, event.index)
                index = job * self._n + event.index
                text, logprobs = answer.news_in(event.text, event.logprobs)
                choices = self._open(index)
                if text or logprobs:
                    choices += self._shape.pieces(index, text, logprobs)
                return self._chunks(choices)
            case RestartEvent():
                self._sent.restart(job)
                return []
            case ErrorEvent():
                raise self._shape.error_of(event)
            case DoneEvent():
                self._usages.append(event.usage)
                return [
                    frame
                    for choice in choices_of(event)
                    for frame in self._chunks(self._close(job, choice))
                ]

    def end(self) -> list[str]:
        """The frames behind the last answer's."""
        frames = []
        if self._shape.include_usage:
            usage = usage_fields(sum_of(self._usages))
            frames.append(_frame({**self._head, "choices": [], "usage": usage}))
        return [*frames, "data: [DONE]\n\n"]

    def _open(self, index: int) -> list[dict[str, Any]]:
        if index in self._opened:
            return []
        self._opened.add(index)
        return self._shape.opening(index)

    def _close(self, job: int, choice: Choice) -> list[dict[str, Any]]:
        index = job * self._n + choice.index
        choices = self._open(index)
        if rest := self._sent.of(job, choice.index).rest_of(choice.text):
            choices += self._shape.pieces(index, rest, ())
        return choices + self._shape.ending(index, choice)

    def _chunks(self, choices: list[dict[str, Any]]) -> list[str]:
        more = {"usage": None} if self._shape.include_usage else {}
        return [_frame({**self._head, "choices": [choice], **more}) for choice in choices]


def usage_fields(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _head(submitted: Submitted, shape: Shape, kind: str) -> dict[str, Any]:
    job = submitted.jobs[0]
    return {
        "id": f"{shape.id_prefix}-{job.job_id.replace('-', '')}",
        "object": kind,
        "created": int(job.created_unix),
        "model": shape.model,
    }


def _engine_time(timings: list[Timings]) -> float:
    """Jobs of one call run side by side: the longest counts."""
    return max((item.queue_time + item.inference_time for item in timings), default=0.0)


def _frame(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
