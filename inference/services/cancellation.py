"""Jobs that are ended before their time: by a mark for their worker, or from here where none looks on.

Whoever holds a job's lease may end it. So a cancellation takes the lease where it is free: then no
worker has begun the job and none can, its row is settled and its readers are told at once. Where a
worker holds it, that one finds the mark and ends the job with what it has computed.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import suppress

import redis
from django.conf import settings

from inference.lease import Holder, free
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent
from inference.services.settlement import published_usage, settle_jobs, settlement_of
from inference.stream import ENDED_LIFETIME, KEEP_AFTER_END, JobKeys, append, last_event
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import SyncRedis, sync_client

logger = logging.getLogger(__name__)

CANCELLED = "The job was cancelled."
_CANCEL_LIFETIME = 3600
# Enough to write one row, also while the database is slow; then the reaper ends the job.
_ENDING_MS = 10_000


def cancel_job(*, job: InferenceJob, reason: str = CANCELLED) -> bool:
    """End a job: at once where no worker has begun it, else by its worker within about a second.

    Returns whether it has ended now. One that had ended stays as it is. `reason` is told to its
    readers and stands in its row.
    Raises AppError BACKEND_UNAVAILABLE where Redis is away, and django.db.Error.
    """
    if job.finished_at is not None:
        return True
    try:
        return _cancel(str(job.pk), reason)
    except redis.RedisError as error:
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        ) from error


def cancel_left_job(job_id: str, reason: str = CANCELLED) -> None:
    """The same for a caller who is gone and hears of no trouble. Raises django.db.Error."""
    try:
        _cancel(job_id, reason)
    except redis.RedisError as error:
        logger.warning("job %s: it could not be cancelled: %s", job_id, error)


def request_cancel(job_id: str, reason: str = CANCELLED) -> None:
    """Ask the worker to end a job; it does so within about half a second. Raises RedisError."""
    client = sync_client(settings.REDIS_URL)
    client.set(JobKeys(job_id).cancel, reason.encode(), ex=_CANCEL_LIFETIME)


def _cancel(job_id: str, reason: str) -> bool:
    """Raises RedisError and django.db.Error."""
    client, keys = sync_client(settings.REDIS_URL), JobKeys(job_id)
    lease = Holder.canceller().encode()
    pipeline = client.pipeline(transaction=False)
    pipeline.set(keys.cancel, reason.encode(), ex=_CANCEL_LIFETIME)
    pipeline.set(keys.lease, lease, nx=True, px=_ENDING_MS)
    _, is_ours = pipeline.execute()
    if not is_ours:
        return False
    try:
        row = InferenceJob.objects.live().filter(pk=uuid.UUID(job_id)).first()
        if row is None:
            return True
        if ending := last_event(client, job_id):  # whose settlement is still on its way
            return bool(settle_jobs([settlement_of(job_id, row.attempt, ending)]))
        event = ErrorEvent(ErrorCode.CANCELLED, reason, published_usage(row))
        return end_job(client, row, event, attempt=row.attempt)
    finally:
        with suppress(redis.RedisError):  # it runs out
            free(client, job_id, lease)


def end_job(
    client: SyncRedis, row: InferenceJob, event: DoneEvent | ErrorEvent, *, attempt: int
) -> bool:
    """Settle `row` as the end of `attempt` and tell its readers; False where it has ended already.

    Whatever an attempt up to this one still writes is refused by its stream from here on.
    Raises django.db.Error, and RedisError with the row settled.
    """
    if not settle_jobs([settlement_of(str(row.pk), attempt, event)]):
        return False
    keys = JobKeys(str(row.pk))
    pipeline = client.pipeline(transaction=True)
    append(pipeline, keys, f"{attempt + 1}-1", event, KEEP_AFTER_END)
    # A message that still waits for a worker must find the mark, however long it waits.
    seconds_left = int(max(0.0, row.deadline_at.timestamp() - time.time()))
    pipeline.set(keys.ended, b"1", ex=ENDED_LIFETIME + seconds_left)
    pipeline.execute()
    return True


def abandon_job(job_id: str, attempt: int, code: ErrorCode, message: str) -> None:
    """End a job that no worker looks after any more, from the web process."""
    try:
        request_cancel(job_id, message)
    except redis.RedisError as error:
        logger.warning("job %s: no cancel mark could be set: %s", job_id, error)
    row = InferenceJob.objects.filter(pk=uuid.UUID(job_id)).first()
    if row is None:
        return
    # Whatever attempt has begun meanwhile: the answer has been given.
    newest = max(attempt, row.attempt)
    event = ErrorEvent(code, message, published_usage(row))
    try:
        end_job(sync_client(settings.REDIS_URL), row, event, attempt=newest)
    except redis.RedisError as error:
        logger.warning("job %s: its readers could not be told of its end: %s", job_id, error)
