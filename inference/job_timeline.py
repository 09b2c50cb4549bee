"""The "why" of a job: what happened to it and how long each part took, from what was recorded.

Only what was measured is told: a stage that the job did not come to, or of which nothing was noted,
is missing, and a duration that nobody measured is null.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from inference.job_contents import public_error
from inference.models import InferenceJob, JobAttempt
from inference.states import JobState


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """`at` is when the stage began, `duration` how many seconds it took."""

    stage: str
    at: datetime | None
    duration: float | None = None
    details: dict[str, Any] = field(default_factory=dict)


def timeline_of(row: InferenceJob) -> list[TimelineEvent]:
    """The stages of a job in their order. `row.attempts` and `row.batch_item` are read."""
    attempts = list(row.attempts.all()) or _only_attempt(row)
    return [
        *_admission(row),
        *_queue(row, attempts),
        *(_attempt(attempt) for attempt in attempts),
        *_plugins(row, "before"),
        *_load(row, is_alone=len(attempts) == 1),
        *_engine(row),
        *_plugins(row, "after"),
        *_end(row),
    ]


def _only_attempt(row: InferenceJob) -> list[JobAttempt]:
    """Most jobs need one, of which their row alone tells."""
    if row.started_at is None:
        return []
    return [JobAttempt(job=row, number=row.attempt, worker=row.worker, started_at=row.started_at)]


def _received_at(row: InferenceJob) -> datetime:
    return row.created_at - timedelta(seconds=row.admission_time or 0.0)


def _admission(row: InferenceJob) -> Iterator[TimelineEvent]:
    yield TimelineEvent(
        "admission",
        _received_at(row),
        row.admission_time,
        {
            "is_streamed": row.is_streamed,
            "priority": row.priority,
            "deadline_at": row.deadline_at,
            "time_limit": (row.deadline_at - row.created_at).total_seconds(),
        },
    )
    if row.reserved_tokens is not None or row.limits is not None:
        details = {"reserved_tokens": row.reserved_tokens, "limits": row.limits}
        yield TimelineEvent("limits", row.created_at, None, details)


def _queue(row: InferenceJob, attempts: Sequence[JobAttempt]) -> Iterator[TimelineEvent]:
    """Until a worker took it, or until it ended without one."""
    begun = attempts[0].started_at if attempts else row.finished_at
    yield TimelineEvent("queue", row.created_at, _between(row.created_at, begun))


def _attempt(attempt: JobAttempt) -> TimelineEvent:
    details = {"number": attempt.number, "worker": attempt.worker}
    if attempt.cause:
        details["cause"] = attempt.cause
    return TimelineEvent("attempt", attempt.started_at, None, details)


def _plugins(row: InferenceJob, when: str) -> Iterator[TimelineEvent]:
    names = (row.plugins or {}).get(when)
    if names:
        yield TimelineEvent(f"plugins_{when}", None, None, {"plugins": names})


def _load(row: InferenceJob, *, is_alone: bool) -> Iterator[TimelineEvent]:
    """Waiting for a loaded engine, all attempts together."""
    if row.load_time is None:
        return
    submitted = _submitted_at(row)
    at = submitted - timedelta(seconds=row.load_time) if submitted and is_alone else None
    yield TimelineEvent("load", at, row.load_time)


def _engine(row: InferenceJob) -> Iterator[TimelineEvent]:
    """The last attempt in its engine: its queue, the prompt, the answer."""
    submitted = _submitted_at(row)
    if submitted is None or row.engine_wait is None or row.queue_time is None:
        return
    yield TimelineEvent("engine_queue", submitted, row.engine_wait)
    began = row.created_at + timedelta(seconds=row.queue_time)
    prompt = {"prompt_tokens": row.prompt_tokens, "cached_tokens": row.cached_tokens}
    if row.ttft is None:
        yield TimelineEvent("prefill", began, None, prompt)
        return
    first_token = submitted + timedelta(seconds=row.ttft)
    prefill = max(0.0, row.ttft - row.engine_wait)
    ttft = {"ttft": (first_token - _received_at(row)).total_seconds()}
    yield TimelineEvent("prefill", began, prefill, prompt | ttft)
    if not row.completion_tokens:
        return
    decode = None if row.inference_time is None else max(0.0, row.inference_time - prefill)
    details: dict[str, Any] = {"completion_tokens": row.completion_tokens}
    if decode and row.completion_tokens > 1:  # the first came with the prompt
        details["tokens_per_second"] = (row.completion_tokens - 1) / decode
    yield TimelineEvent("decode", first_token, decode, details)


def _submitted_at(row: InferenceJob) -> datetime | None:
    """When the engine got the last attempt."""
    if row.queue_time is None or row.engine_wait is None:
        return None
    return row.created_at + timedelta(seconds=row.queue_time - row.engine_wait)


def _end(row: InferenceJob) -> Iterator[TimelineEvent]:
    if row.finished_at is None:
        return
    details: dict[str, Any] = {"state": row.state}
    if row.finish_reason:
        details["finish_reason"] = row.finish_reason
    if row.error_code:
        message = public_error(row.error_code, row.error_message)
        details["error"] = {"code": row.error_code, "message": message}
    if row.state == JobState.CANCELLED:
        details["completion_tokens"] = row.completion_tokens
    total = _between(_received_at(row), row.finished_at)
    yield TimelineEvent("end", row.finished_at, total, details)
    if row.retention:
        due = row.content_removed_at or row.content_until
        kept = {"policy": row.retention, "is_removed": row.content_removed_at is not None}
        yield TimelineEvent("retention", due, None, kept)


def _between(begin: datetime, end: datetime | None) -> float | None:
    """Seconds; two machines' clocks may differ, and no stage takes less than none."""
    return None if end is None else max(0.0, (end - begin).total_seconds())
