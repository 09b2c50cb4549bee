"""Writes of inference. Web, worker, commands and admin change jobs and models only through these."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from inference import wire
from inference.dispatch import BrokerUnavailableError, ring
from inference.models import InferenceJob, Model
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    GenerationJob,
    Prompt,
    SamplingParams,
    Timings,
    Usage,
)
from inference.states import JobState, sources_of
from inference.stream import JobKeys
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

_CANCEL_LIFETIME = 3600
_MAX_ERROR_LENGTH = 500
_STATE_BY_CODE = {
    ErrorCode.CANCELLED: JobState.CANCELLED,
    ErrorCode.DEADLINE_EXCEEDED: JobState.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class JobStart:
    """A worker has begun an attempt."""

    job_id: str
    attempt: int
    worker: str
    started_at: datetime


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ended. Only one settlement of a job is ever written."""

    job_id: str
    attempt: int
    state: JobState
    finished_at: datetime
    usage: Usage = field(default_factory=Usage)
    timings: Timings | None = None
    output: str = ""
    finish_reason: str = ""
    error_code: ErrorCode | None = None
    error_message: str = ""
    backend: str = ""


def submit_job(
    *,
    owner: Any,
    api_key: Any,
    model: Model,
    prompt: Prompt,
    params: SamplingParams,
    priority: int,
    timeout: float,
    request_id: str,
    is_streamed: bool,
) -> GenerationJob:
    """Write the durable row, then ring the bell.

    Raises AppError BACKEND_UNAVAILABLE when the broker is away; the row then says so.
    """
    now = timezone.now()
    row = InferenceJob.objects.create(
        owner=owner,
        api_key=api_key,
        model=model,
        request_id=request_id,
        is_streamed=is_streamed,
        priority=priority,
        prompt=wire.to_builtins(prompt),
        params=wire.to_builtins(params),
        created_at=now,
        deadline_at=now + timedelta(seconds=timeout),
    )
    job = message_for(row)
    try:
        ring(job)
    except BrokerUnavailableError as error:
        logger.warning("job %s could not be queued: %s", row.pk, error)
        refusal = AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        )
        event = ErrorEvent(refusal.code, refusal.message)
        settle_jobs([settlement_of(job.job_id, job.attempt, event)])
        raise refusal from error
    return job


def message_for(row: InferenceJob) -> GenerationJob:
    """The job as it travels to a worker. `row.model` is read."""
    return GenerationJob(
        job_id=str(row.pk),
        attempt=row.attempt,
        request_id=row.request_id,
        model=row.model.slug,
        prompt=wire.from_builtins(Prompt, row.prompt),
        params=wire.from_builtins(SamplingParams, row.params),
        created_unix=row.created_at.timestamp(),
        deadline_unix=row.deadline_at.timestamp(),
        tenant=str(row.owner_id),
        priority=row.priority,
    )


def settlement_of(job_id: str, attempt: int, event: DoneEvent | ErrorEvent) -> Settlement:
    """What the row shall say of a job that ended with `event`, now."""
    if isinstance(event, DoneEvent):
        return Settlement(
            job_id=job_id,
            attempt=attempt,
            state=JobState.SUCCEEDED,
            finished_at=timezone.now(),
            usage=event.usage,
            timings=event.timings,
            output=event.text,
            finish_reason=str(event.finish_reason),
            backend=event.backend,
        )
    return Settlement(
        job_id=job_id,
        attempt=attempt,
        state=_STATE_BY_CODE.get(event.code, JobState.FAILED),
        finished_at=timezone.now(),
        error_code=event.code,
        error_message=event.message,
    )


@transaction.atomic
def start_jobs(starts: Sequence[JobStart]) -> None:
    """Note the beginning of attempts. One that has ended, or has a later attempt, stays as it is."""
    for start in starts:
        InferenceJob.objects.filter(
            pk=uuid.UUID(start.job_id),
            state__in=sources_of(JobState.RUNNING),
            attempt__lte=start.attempt,
        ).update(
            state=JobState.RUNNING,
            attempt=start.attempt,
            worker=start.worker,
            started_at=start.started_at,
        )


@transaction.atomic
def settle_jobs(settlements: Sequence[Settlement]) -> list[str]:
    """Write the end of attempts, each at most once. Returns the ids that this call has settled."""
    settled = []
    for item in settlements:
        timings = item.timings
        changed = InferenceJob.objects.filter(
            pk=uuid.UUID(item.job_id), state__in=sources_of(item.state), attempt__lte=item.attempt
        ).update(
            state=item.state,
            attempt=item.attempt,
            finished_at=item.finished_at,
            prompt_tokens=item.usage.prompt_tokens,
            completion_tokens=item.usage.completion_tokens,
            cached_tokens=item.usage.cached_tokens,
            queue_time=timings.queue_time if timings else None,
            ttft=timings.ttft if timings else None,
            inference_time=timings.inference_time if timings else None,
            # PostgreSQL holds no NUL in text, and a model may well produce one.
            output=item.output.replace("\x00", "\ufffd"),
            finish_reason=item.finish_reason,
            error_code=item.error_code or "",
            error_message=item.error_message[:_MAX_ERROR_LENGTH],
            backend=item.backend,
        )
        if changed:
            settled.append(item.job_id)
    return settled


def next_attempt(row: InferenceJob) -> GenerationJob | None:
    """Claim the right to run `row` once more; None where it has moved on meanwhile."""
    claimed = InferenceJob.objects.filter(pk=row.pk, state=row.state, attempt=row.attempt).update(
        attempt=row.attempt + 1, state=JobState.RUNNING
    )
    if not claimed:
        return None
    row.attempt += 1
    return message_for(row)


def request_cancel(job_id: str) -> None:
    """Ask the worker to end a job; it does so within about half a second. Raises RedisError."""
    client = sync_client(settings.REDIS_URL)
    client.set(JobKeys(job_id).cancel, b"1", ex=_CANCEL_LIFETIME)


def abandon_job(job_id: str, attempt: int, code: ErrorCode, message: str) -> None:
    """End a job that no worker looks after any more, from the web process."""
    try:
        request_cancel(job_id)
    except redis.RedisError as error:
        logger.warning("job %s: no cancel mark could be set: %s", job_id, error)
    # Whatever attempt has begun meanwhile: the answer has been given.
    newest = max(attempt, _current_attempt(job_id))
    settle_jobs([settlement_of(job_id, newest, ErrorEvent(code, message))])


def _current_attempt(job_id: str) -> int:
    row = InferenceJob.objects.filter(pk=uuid.UUID(job_id)).values("attempt").first()
    return row["attempt"] if row else 1
