"""Jobs that are ended before their time: by a mark for their worker, or from here where none looks on."""

from __future__ import annotations

import logging
import uuid

import redis
from django.conf import settings

from inference.models import InferenceJob
from inference.protocol import ErrorEvent
from inference.services.settlement import published_usage, settle_jobs, settlement_of
from inference.stream import JobKeys
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

_CANCEL_LIFETIME = 3600


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
