"""Ends of jobs: each is written once, billed with it, and its reservation given back."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import redis
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.services import metering
from inference.job_contents import kept_until
from inference.job_metrics import count_end
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent, Usage
from inference.services.answers import answer_of, storable_text
from inference.services.attempts import JobStart, move_job
from inference.services.billing import Account, accounts_of
from inference.states import JobState
from inference.stream import published_tokens
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from llamagpu.lib.retention import Retention

logger = logging.getLogger(__name__)

_MAX_ERROR_LENGTH = 500
_STATE_BY_CODE = {
    ErrorCode.CANCELLED: JobState.CANCELLED,
    ErrorCode.DEADLINE_EXCEEDED: JobState.EXPIRED,
}


@dataclass(frozen=True, slots=True)
class Course:
    """What a worker has seen of an attempt on its way; None is what it did not come to.

    Times are in seconds, `queue_time` and `ttft` as in Timings.
    """

    queue_time: float | None = None
    ttft: float | None = None
    inference_time: float | None = None
    load_time: float | None = None
    engine_wait: float | None = None
    plugins_before: tuple[str, ...] = ()
    plugins_after: tuple[str, ...] = ()

    @classmethod
    def of(cls, done: DoneEvent) -> Course:
        """The whole way of an attempt that ended well."""
        timings = done.timings
        return cls(
            queue_time=timings.queue_time,
            ttft=timings.ttft,
            inference_time=timings.inference_time,
            load_time=timings.load_time,
            engine_wait=timings.engine_wait,
            plugins_before=done.plugins_before,
            plugins_after=done.plugins_after,
        )

    @property
    def plugins(self) -> dict[str, list[str]]:
        """For the row."""
        return {"before": list(self.plugins_before), "after": list(self.plugins_after)}


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ended. Only one settlement of a job is ever written.

    `start` is the beginning of an only attempt that was over before anybody had noted it.
    """

    job_id: str
    attempt: int
    state: JobState
    finished_at: datetime
    usage: Usage = field(default_factory=Usage)
    course: Course | None = None
    output: str = ""
    answer: dict[str, Any] | None = None
    finish_reason: str = ""
    error_code: ErrorCode | None = None
    error_message: str = ""
    backend: str = ""
    start: JobStart | None = None

    @property
    def start_fields(self) -> dict[str, Any]:
        """Columns of the row that `start` still has to fill."""
        if self.start is None:
            return {}
        return {"worker": self.start.worker, "started_at": self.start.started_at}


def settlement_of(
    job_id: str, attempt: int, event: DoneEvent | ErrorEvent, course: Course | None = None
) -> Settlement:
    """What the row shall say of a job that ended with `event`, now.

    `course` is what was seen of an attempt that failed; the other ones say it themselves.
    """
    if isinstance(event, DoneEvent):
        return Settlement(
            job_id=job_id,
            attempt=attempt,
            state=JobState.SUCCEEDED,
            finished_at=timezone.now(),
            usage=event.usage,
            course=Course.of(event),
            output=event.text,
            answer=answer_of(event),
            finish_reason=str(event.finish_reason),
            backend=event.backend,
        )
    return Settlement(
        job_id=job_id,
        attempt=attempt,
        state=_STATE_BY_CODE.get(event.code, JobState.FAILED),
        finished_at=timezone.now(),
        usage=event.usage,
        course=course,
        error_code=event.code,
        error_message=event.message,
    )


@transaction.atomic
def settle_jobs(settlements: Sequence[Settlement]) -> list[str]:
    """Write the end of attempts and bill them, each job at most once.

    Returns the ids that this call has settled.
    """
    settled: list[tuple[Settlement, Account]] = []
    accounts = accounts_of(uuid.UUID(item.job_id) for item in settlements)
    for item in settlements:
        account = accounts.get(uuid.UUID(item.job_id))
        if account is None:  # its row is gone
            continue
        if _write_end(item, account.retention):
            settled.append((item, account))
    metering.settle([_bill(item, account) for item, account in settled])
    transaction.on_commit(lambda: _count_ends(settled), robust=True)
    return [item.job_id for item, _ in settled]


def _write_end(item: Settlement, policy: Retention) -> bool:
    """Whether the row could still end in this way."""
    course = item.course or Course()
    changes = {
        "state": item.state,
        "attempt": item.attempt,
        "finished_at": item.finished_at,
        "prompt_tokens": item.usage.prompt_tokens,
        "completion_tokens": item.usage.completion_tokens,
        "cached_tokens": item.usage.cached_tokens,
        "queue_time": course.queue_time,
        "ttft": course.ttft,
        "inference_time": course.inference_time,
        "load_time": course.load_time,
        "engine_wait": course.engine_wait,
        "plugins": course.plugins if item.course else None,
        "output": storable_text(item.output),
        "answer": item.answer,
        "finish_reason": item.finish_reason,
        "error_code": item.error_code or "",
        "error_message": storable_text(item.error_message[:_MAX_ERROR_LENGTH]),
        "backend": item.backend,
        "retention": str(policy),
        "content_until": kept_until(policy, item.finished_at),
        **item.start_fields,
    }
    return move_job(item.job_id, item.attempt, changes)


def _count_ends(settled: Iterable[tuple[Settlement, Account]]) -> None:
    """For the metrics, once the rows are written."""
    for item, account in settled:
        count_end(item, account.model_slug, account.seconds_until(item.finished_at))


def _bill(item: Settlement, account: Account) -> metering.JobUsage:
    """What a settled job has used, and who pays."""
    return metering.JobUsage(
        job_id=uuid.UUID(item.job_id),
        payer=account.payer,
        model_slug=account.model_slug,
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
