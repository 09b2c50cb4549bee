"""Stage 3/7, its first half: may one more job come in now? Nothing is written before the answer."""

from __future__ import annotations

import redis
from django.conf import settings

from inference.dispatch import QUEUE
from inference.presence import WorkerReport, live_workers
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from monitoring.configuration import current

# kombu's list of a queue, behind the prefix of CELERY_BROKER_TRANSPORT_OPTIONS.
_QUEUE_LIST = f"lg:{QUEUE}"


def admit() -> list[WorkerReport]:
    """The workers that could take a job. Raises AppError NO_WORKER, QUEUE_FULL, BACKEND_UNAVAILABLE."""
    try:
        workers = find_workers()
        waiting = queue_length()
    except redis.RedisError as error:
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        ) from error
    if not workers:
        raise AppError(
            ErrorCode.NO_WORKER,
            "No inference worker is running. It may be starting: try again shortly.",
            retry_after=5,
        )
    if waiting >= current().max_queue:
        raise AppError(
            ErrorCode.QUEUE_FULL,
            f"{waiting} requests are waiting already, which is the limit.",
            retry_after=2,
        )
    return workers


def find_workers() -> list[WorkerReport]:
    """Raises RedisError."""
    return live_workers(sync_client(settings.REDIS_URL))


def queue_length() -> int:
    """Messages that no worker has picked up. Raises RedisError."""
    return int(sync_client(settings.REDIS_URL).llen(_QUEUE_LIST))
