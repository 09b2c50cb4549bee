"""Stage 3/7, its first half: a call becomes a durable row with its reservation, then a message."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.job_claims import JobClaim
from accounts.services import quotas
from inference import wire
from inference.call_trace import trace_admission
from inference.dispatch import BrokerUnavailableError, ring
from inference.models import InferenceJob, Model
from inference.protocol import ErrorEvent, GenerationJob, Prompt, SamplingParams
from inference.routing import queue_for
from inference.services.attempts import message_for
from inference.services.cancellation import cancel_left_job
from inference.services.idempotency import CallKey, forget_key, use_key
from inference.services.settlement import settle_jobs, settlement_of
from inference.states import JobKind
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.prepared_write import insert_rows

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt's length as far as the web process knows it.

    `counted` is 0 where only the engine can count; `most` is then what it can be at most.
    """

    counted: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCall:
    """What a caller asks for, checked. `timeout` is in seconds, `api_key` None in a browser session.

    `reader_grace` is for how many seconds the job goes on without a reader, None for one that needs none.
    `received_at` is when the call came in, on the clock of `time.perf_counter`, where that is known.
    """

    owner: Any
    api_key: Any
    model: Model
    prompt: Prompt
    params: SamplingParams
    prompt_tokens: PromptTokens
    timeout: float
    request_id: str
    priority: int = 0
    is_streamed: bool = False
    end_user: str = ""
    reader_grace: float | None = None
    received_at: float | None = None

    @property
    def most_tokens(self) -> int:
        """What the job can come to use at most, answers included."""
        return self.prompt_tokens.most + self.params.max_tokens * self.params.n


def seconds_since(moment: float | None) -> float | None:
    """Since a moment on the clock of `time.perf_counter`; None where that is not known."""
    return None if moment is None else time.perf_counter() - moment


def submit_job(call: JobCall, key: CallKey | None = None) -> GenerationJob:
    """As `submit_jobs`, for one job."""
    return submit_jobs((call,), key)[0]


def submit_jobs(calls: Sequence[JobCall], key: CallKey | None = None) -> list[GenerationJob]:
    """Set the tokens aside and write the durable rows, in one transaction; then ring the bell.

    `calls` are those of one user, key and model: all of them come in, or none. `key` names them all.
    Raises AppError RATE_LIMIT_EXCEEDED and QUOTA_EXCEEDED and KeyIsUsedError, with nothing written, and
    BACKEND_UNAVAILABLE when the broker is away; the rows then say so, and the key is free.
    """
    claims = [
        JobClaim(uuid.uuid4(), call.owner, call.api_key, call.model.slug, call.most_tokens)
        for call in calls
    ]
    began = time.time()
    reserve_minutes(claims)
    try:
        with transaction.atomic():
            named = use_key(key, len(calls)) if key else [None] * len(calls)
            quotas.reserve_all(claims)
            rows = [new_row(call, claim) for call, claim in zip(calls, claims, strict=True)]
            for row, part in zip(rows, named, strict=True):
                row.call = part
            insert_rows(rows)
    except Exception:
        for claim in claims:
            quotas.release_minute(claim)
        raise
    jobs = trace_admission([message_for(row, row.owner.role.slug) for row in rows], began)
    try:
        _ring_or_settle(jobs, queue_for(calls[0].model))
    except AppError:
        if key:
            forget_key(key)
        raise
    return jobs


def reserve_minutes(claims: Sequence[JobClaim]) -> None:
    """All or none. Raises AppError RATE_LIMIT_EXCEEDED and BACKEND_UNAVAILABLE."""
    for number, claim in enumerate(claims):
        try:
            quotas.reserve_minute(claim)
        except Exception:
            for counted in claims[:number]:
                quotas.release_minute(counted)
            raise


def new_row(call: JobCall, claim: JobClaim) -> InferenceJob:
    """The row of a job that is let in, not yet written."""
    now = timezone.now()
    return InferenceJob(
        id=claim.job_id,
        owner=call.owner,
        api_key=call.api_key,
        model=call.model,
        request_id=call.request_id,
        is_streamed=call.is_streamed,
        kind=JobKind.EMBED if call.prompt.inputs else JobKind.GENERATE,
        end_user=call.end_user,
        priority=call.priority,
        prompt=wire.to_builtins(call.prompt),
        params=wire.to_builtins(call.params),
        prompt_tokens=call.prompt_tokens.counted,
        reader_grace=call.reader_grace,
        admission_time=seconds_since(call.received_at),
        reserved_tokens=claim.tokens,
        limits=quotas.limits_that_hold(claim),
        created_at=now,
        deadline_at=now + timedelta(seconds=call.timeout),
    )


def _ring_or_settle(jobs: Sequence[GenerationJob], queue: str) -> None:
    for number, job in enumerate(jobs):
        try:
            ring(job, queue)
        except BrokerUnavailableError as error:
            logger.warning("job %s could not be queued: %s", job.job_id, error)
            refusal = AppError(
                ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
            )
            event = ErrorEvent(refusal.code, refusal.message)
            settle_jobs([settlement_of(item.job_id, item.attempt, event) for item in jobs[number:]])
            for queued in jobs[:number]:
                cancel_left_job(queued.job_id, "Another job of the same call could not be queued.")
            raise refusal from error
