"""Beginnings of a job: the message for a worker, an attempt's start, the right to the next one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction

from inference import wire
from inference.models import InferenceJob
from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.states import JobState, sources_of


@dataclass(frozen=True, slots=True)
class JobStart:
    """A worker has begun an attempt."""

    job_id: str
    attempt: int
    worker: str
    started_at: datetime


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


def next_attempt(row: InferenceJob) -> GenerationJob | None:
    """Claim the right to run `row` once more; None where it has moved on meanwhile."""
    claimed = InferenceJob.objects.filter(pk=row.pk, state=row.state, attempt=row.attempt).update(
        attempt=row.attempt + 1, state=JobState.RUNNING
    )
    if not claimed:
        return None
    row.attempt += 1
    return message_for(row)
