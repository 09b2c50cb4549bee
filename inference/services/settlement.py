"""Ends of jobs: each is written once, billed with it, and its reservation given back."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.services import metering
from inference.job_contents import kept_until, policies_of
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent, Timings, Usage
from inference.states import JobState, sources_of
from inference.stream import published_tokens
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from llamagpu.lib.retention import FOR_EVER

logger = logging.getLogger(__name__)

_MAX_ERROR_LENGTH = 500
_STATE_BY_CODE = {
    ErrorCode.CANCELLED: JobState.CANCELLED,
    ErrorCode.DEADLINE_EXCEEDED: JobState.EXPIRED,
}


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
