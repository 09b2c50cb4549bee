"""A job by its id: what others must not see is as if it were not there."""

from __future__ import annotations

import uuid
from typing import Any

from inference.models import InferenceJob
from inference.querysets import InferenceJobQuerySet
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode


def no_such_job(message: str = "There is no such job.") -> AppError:
    """The same for a job that is not there and for one that is somebody else's."""
    return AppError(ErrorCode.JOB_NOT_FOUND, message)


def visible_jobs(user: Any, key: Any) -> InferenceJobQuerySet:
    """What `user`, calling with `key` (None for a session), may see, with all that is told of it."""
    jobs: InferenceJobQuerySet = InferenceJob.objects.visible_to(user, key)
    return with_relations(jobs)


def with_relations(jobs: InferenceJobQuerySet) -> InferenceJobQuerySet:
    """Each with its owner, key, model and batch, in one query."""
    return jobs.select_related("owner", "api_key", "model", "batch_item")


def find_job(user: Any, key: Any, job_id: uuid.UUID) -> InferenceJob:
    """Raises AppError JOB_NOT_FOUND, also for a job that `user` may not see."""
    job = visible_jobs(user, key).filter(pk=job_id).first()
    if job is None:
        raise no_such_job()
    return job
