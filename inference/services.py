"""Writes of inference. Web, worker, commands and admin change jobs and models only through these."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.job_claims import JobClaim
from accounts.services import metering, quotas
from inference import wire
from inference.dispatch import BrokerUnavailableError, ring
from inference.job_contents import kept_until, policies_of
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
from inference.stream import JobKeys, published_tokens
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from llamagpu.lib.retention import FOR_EVER

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


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt's length as far as the web process knows it.

    `counted` is 0 where only the engine can count; `most` is then what it can be at most.
    """

    counted: int
    most: int


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
    prompt_tokens: PromptTokens,
    end_user: str = "",
) -> GenerationJob:
    """Set the tokens aside and write the durable row, in one transaction; then ring the bell.

    Raises AppError RATE_LIMIT_EXCEEDED and QUOTA_EXCEEDED, with nothing written, and
    BACKEND_UNAVAILABLE when the broker is away; the row then says so.
    """
    now = timezone.now()
    most_tokens = prompt_tokens.most + params.max_tokens * params.n
    claim = JobClaim(uuid.uuid4(), owner, api_key, model.slug, most_tokens)
    quotas.reserve_minute(claim)
    try:
        with transaction.atomic():
            quotas.reserve(claim)
            row = InferenceJob.objects.create(
                id=claim.job_id,
                owner=owner,
                api_key=api_key,
                model=model,
                request_id=request_id,
                is_streamed=is_streamed,
                end_user=end_user,
                priority=priority,
                prompt=wire.to_builtins(prompt),
                params=wire.to_builtins(params),
                prompt_tokens=prompt_tokens.counted,
                created_at=now,
                deadline_at=now + timedelta(seconds=timeout),
            )
    except Exception:
        quotas.release_minute(claim)
        raise
    job = message_for(row)
    _ring_or_settle(job)
    return job


def _ring_or_settle(job: GenerationJob) -> None:
    try:
        ring(job)
    except BrokerUnavailableError as error:
        logger.warning("job %s could not be queued: %s", job.job_id, error)
        refusal = AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        )
        event = ErrorEvent(refusal.code, refusal.message)
        settle_jobs([settlement_of(job.job_id, job.attempt, event)])
        raise refusal from error


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
        usage=event.usage,
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
    """Write the end of attempts and bill them, each job at most once.

    Returns the ids that this call has settled.
    """
    settled: dict[uuid.UUID, Settlement] = {}
    policies = policies_of(uuid.UUID(item.job_id) for item in settlements)
    for item in settlements:
        policy = policies.get(uuid.UUID(item.job_id), FOR_EVER)
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
            retention=str(policy),
            content_until=kept_until(policy, item.finished_at),
        )
        if changed:
            settled[uuid.UUID(item.job_id)] = item
    metering.settle(list(_bills(settled)))
    return [item.job_id for item in settled.values()]


def _bills(settled: Mapping[uuid.UUID, Settlement]) -> Iterator[metering.JobUsage]:
    """What each settled job has used, and who pays."""
    rows = InferenceJob.objects.filter(pk__in=list(settled)).order_by()
    payers = rows.values_list(
        "pk",
        "model__slug",
        "owner_id",
        "owner__username",
        "owner__role_id",
        "owner__role__slug",
        "api_key_id",
        "api_key__prefix",
    )
    for row in payers:
        item = settled[row[0]]
        yield metering.JobUsage(
            job_id=row[0],
            payer=metering.Payer(row[2], row[3], row[4], row[5], row[6], row[7] or ""),
            model_slug=row[1],
            finished_at=item.finished_at,
            is_failed=item.state in (JobState.FAILED, JobState.EXPIRED),
            prompt_tokens=item.usage.prompt_tokens,
            completion_tokens=item.usage.completion_tokens,
            cached_tokens=item.usage.cached_tokens,
        )


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
    row = InferenceJob.objects.filter(pk=uuid.UUID(job_id)).first()
    if row is None:
        return
    # Whatever attempt has begun meanwhile: the answer has been given.
    newest = max(attempt, row.attempt)
    event = ErrorEvent(code, message, published_usage(row))
    settle_jobs([settlement_of(job_id, newest, event)])


def published_usage(row: InferenceJob) -> Usage:
    """What is known of a live job whose worker is gone: the tokens that its last attempt published.

    The prompt, as it was counted at admission, goes with the first of them.
    """
    try:
        num_tokens = published_tokens(sync_client(settings.REDIS_URL), str(row.pk))
    except redis.RedisError as error:
        logger.warning("job %s: its stream cannot be read, nothing is billed: %s", row.pk, error)
        return Usage()
    return Usage(row.prompt_tokens, num_tokens) if num_tokens else Usage()
