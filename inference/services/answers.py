"""What the row of an ended job keeps of its answer, and the answer as it comes back out of the row."""

from __future__ import annotations

import math
from typing import Any

from inference import wire
from inference.models import InferenceJob
from inference.protocol import (
    Choice,
    DoneEvent,
    FinishReason,
    Timings,
    TokenLogprob,
    Usage,
)

# JSON knows no infinity; other servers write this for a token that could not have come.
_LEAST_LOGPROB = -9999.0


def answer_of(done: DoneEvent) -> dict[str, Any] | None:
    """What an answer holds besides its text, JSON-ready: `choices` and log probabilities; None for
    nothing. Vectors are not kept: they are long, and made again in less time than they are read.
    """
    parts = {
        "choices": done.choices,
        "logprobs": done.logprobs,
        "prompt_logprobs": done.prompt_logprobs,
    }
    kept = {name: wire.to_builtins(part) for name, part in parts.items() if part}
    return _storable(kept) or None


def storable_text(text: str) -> str:
    """PostgreSQL holds no NUL in text, and a model may well produce one."""
    return text.replace("\x00", "\ufffd")


def done_event_of(row: InferenceJob) -> DoneEvent:
    """The terminal event of a job that succeeded, from its row. `row.model` is read.

    Says what the worker said, as long as the texts are kept (`content_removed_at` is null).
    """
    answer, plugins = row.answer or {}, row.plugins or {}
    before, after = tuple(plugins.get("before", ())), tuple(plugins.get("after", ()))
    logprobs, of_prompt = answer.get("logprobs"), answer.get("prompt_logprobs")
    return DoneEvent(
        text=row.output,
        finish_reason=FinishReason(row.finish_reason),
        usage=Usage(row.prompt_tokens, row.completion_tokens, row.cached_tokens),
        timings=Timings(
            queue_time=row.queue_time or 0.0,
            ttft=row.ttft or 0.0,
            inference_time=row.inference_time or 0.0,
            load_time=row.load_time,
            engine_wait=row.engine_wait,
        ),
        model=row.model.slug,
        backend=row.backend,
        plugins=before + after,
        logprobs=None
        if logprobs is None
        else tuple(wire.from_builtins(TokenLogprob, item) for item in logprobs),
        choices=tuple(wire.from_builtins(Choice, item) for item in answer.get("choices", ())),
        plugins_after=after,
        prompt_logprobs=None
        if of_prompt is None
        else tuple(item and wire.from_builtins(TokenLogprob, item) for item in of_prompt),
    )


def _storable(value: Any) -> Any:
    """The same value as every database holds it in JSON."""
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _LEAST_LOGPROB
    if isinstance(value, dict):
        return {name: _storable(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(part) for part in value]
    return value
