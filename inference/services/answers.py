"""What the row of an ended job keeps of its answer, and the answer as it comes back out of the row."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from django.utils import timezone

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
from inference.states import JobKind

# JSON knows no infinity; other servers write this for a token that could not have come.
_LEAST_LOGPROB = -9999.0
_MOST_VECTOR_BYTES = 1 << 20
_VECTORS_KEPT = timedelta(days=1)


def answer_of(done: DoneEvent) -> dict[str, Any] | None:
    """What an answer holds besides its text, JSON-ready: `choices`, log probabilities, and whether its
    tokens were only estimated; None for nothing. Of vectors only a number that a row can hold;
    `forget_vectors` removes them a day later.
    """
    num_bytes = sum(map(len, done.embeddings))
    parts = {
        "choices": done.choices,
        "logprobs": done.logprobs,
        "prompt_logprobs": done.prompt_logprobs,
        "embeddings": done.embeddings if num_bytes <= _MOST_VECTOR_BYTES else (),
    }
    kept: dict[str, Any] = {name: wire.to_builtins(part) for name, part in parts.items() if part}
    if done.usage.is_estimated:
        kept["usage_is_estimated"] = True
    return _storable(kept) or None


def forget_vectors(limit: int = 1000) -> int:
    """Remove vectors from rows of over a day ago, `limit` rows at most; how many it was.

    Whoever asked has them, and they are soon made again. Raises django.db.Error.
    """
    due = InferenceJob.objects.filter(
        kind=JobKind.EMBED, finished_at__lt=timezone.now() - _VECTORS_KEPT, answer__isnull=False
    )
    ids = list(due.order_by("finished_at").values_list("pk", flat=True)[:limit])
    return InferenceJob.objects.filter(pk__in=ids).update(answer=None)


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
        usage=Usage(
            row.prompt_tokens,
            row.completion_tokens,
            row.cached_tokens,
            bool(answer.get("usage_is_estimated")),
        ),
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
        embeddings=tuple(wire.from_builtins(bytes, item) for item in answer.get("embeddings", ())),
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
