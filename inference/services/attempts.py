"""Beginnings of a job: the message for a worker, an attempt's start, the right to the next one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from inference import metrics, wire
from inference.models import InferenceJob, JobAttempt
from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.states import AttemptCause, JobState, sources_of


@dataclass(frozen=True, slots=True)
class JobStart:
    """A worker has begun an attempt."""

    job_id: str
    attempt: int
    worker: str
    started_at: datetime


def message_for(row: InferenceJob, role: str = "") -> GenerationJob:
    """The job as it travels to a worker. `row.model` is read; `role` is its owner's, for who runs it."""
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
        reader_grace=row.reader_grace,
        role=role,
        is_streamed=row.is_streamed,
    )


@transaction.atomic
def start_jobs(starts: Sequence[JobStart]) -> None:
    """Note the beginning of attempts. One that has ended, or has a later attempt, stays as it is."""
    for start in starts:
        waiting = InferenceJob.objects.filter(
            pk=uuid.UUID(start.job_id),
            state__in=sources_of(JobState.RUNNING),
            attempt__lte=start.attempt,
        )
        # Most jobs need one attempt, which their row alone tells of.
        before = (
            waiting.only("attempt", "worker", "started_at").first() if start.attempt > 1 else None
        )
        begun = waiting.update(
            state=JobState.RUNNING,
            attempt=start.attempt,
            worker=start.worker,
            started_at=start.started_at,
        )
        if begun and before is not None:
            _note_again(before, start)


def _note_again(before: InferenceJob, start: JobStart) -> None:
    """One more attempt begins; `before` is the row as it was until now."""
    if before.attempt < start.attempt:  # the same worker goes on, on another engine
        _keep_attempt(before)
        cause = AttemptCause.ENGINE_DIED
    else:
        cause = AttemptCause.WORKER_GONE
    transaction.on_commit(lambda: metrics.RETRIES.inc(cause=cause), robust=True)
    _write_attempt(
        JobAttempt(
            job_id=before.pk,
            number=start.attempt,
            worker=start.worker,
            started_at=start.started_at,
            cause=cause,
        )
    )


def _keep_attempt(row: InferenceJob) -> None:
    """What the row says of its attempt, before another one's takes its place."""
    started = JobAttempt.objects.filter(job_id=row.pk, started_at=row.started_at)
    if row.started_at is None or started.exists():  # the last attempt never came to a worker
        return
    attempt = JobAttempt(
        job_id=row.pk, number=row.attempt, worker=row.worker, started_at=row.started_at
    )
    JobAttempt.objects.bulk_create([attempt], ignore_conflicts=True)


def _write_attempt(attempt: JobAttempt) -> None:
    """A message that comes twice, or a start that is written again, leaves one row."""
    JobAttempt.objects.bulk_create(
        [attempt],
        update_conflicts=True,
        unique_fields=["job", "number"],
        update_fields=["worker", "started_at", "cause"],
    )


@transaction.atomic
def next_attempt(row: InferenceJob) -> GenerationJob | None:
    """Claim the right to run `row` once more; None where it has moved on meanwhile."""
    claimed = InferenceJob.objects.filter(pk=row.pk, state=row.state, attempt=row.attempt).update(
        attempt=row.attempt + 1, state=JobState.RUNNING
    )
    if not claimed:
        return None
    _keep_attempt(row)
    row.attempt += 1
    return message_for(row, row.owner.role.slug)
