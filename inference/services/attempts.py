"""Beginnings of a job: the message for a worker, an attempt's start, the right to the next one."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from inference import metrics, wire
from inference.models import InferenceJob, JobAttempt
from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.states import AttemptCause, JobState, sources_of
from llamagpu.lib.prepared_query import adapted
from llamagpu.lib.prepared_write import update_rows


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
        # Most jobs need one attempt, which their row alone tells of.
        before = _row_before(start) if start.attempt > 1 else None
        changes = {
            "state": JobState.RUNNING,
            "attempt": start.attempt,
            "worker": start.worker,
            "started_at": start.started_at,
        }
        begun = move_job(start.job_id, start.attempt, changes)
        if begun and before is not None:
            _note_again(before, start)


def move_job(job_id: str, attempt: int, changes: Mapping[str, Any]) -> bool:
    """Set fields of a job, its state among them; whether the row may go there from where it is.

    It may not where it has a later attempt than this one. Raises django.db.Error.
    """
    sources = sources_of(changes["state"])
    condition = f"id = %s AND attempt <= %s AND state IN ({', '.join(['%s'] * len(sources))})"
    key = adapted(uuid.UUID(job_id))
    return bool(update_rows(InferenceJob, changes, condition, [key, attempt, *sources]))


def _row_before(start: JobStart) -> InferenceJob | None:
    """The row of a job that this attempt may begin again."""
    return (
        InferenceJob.objects.filter(
            pk=uuid.UUID(start.job_id),
            state__in=sources_of(JobState.RUNNING),
            attempt__lte=start.attempt,
        )
        .only("attempt", "worker", "started_at")
        .first()
    )


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
