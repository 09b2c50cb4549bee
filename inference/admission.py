"""Stage 3/7, its first half: may one more job come in now? Nothing is written before the answer."""

from __future__ import annotations

import time
from collections.abc import Sequence

import redis
from django.conf import settings

from inference.dispatch import QUEUE, queue_of
from inference.presence import WorkerReport, live_workers
from inference.routing import note_workers
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
from monitoring.configuration import current

#: Seconds for which a process relies on what it was told: workers report every second.
_KNOWN_FOR = 0.25
_known: tuple[float, list[WorkerReport], int] = (0.0, [], 0)


def admit() -> list[WorkerReport]:
    """The workers that could take a job. Raises AppError NO_WORKER, QUEUE_FULL, BACKEND_UNAVAILABLE."""
    try:
        workers, waiting = _look_around()
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


def _look_around() -> tuple[list[WorkerReport], int]:
    """The workers and the queue's length, of now wherever it decides anything. Raises RedisError."""
    global _known
    known_until, workers, waiting = _known
    is_far_from_full = waiting < current().max_queue // 2
    if not workers or not is_far_from_full or time.monotonic() > known_until:
        workers = find_workers()
        waiting = queue_length(workers)
        _known = (time.monotonic() + _KNOWN_FOR, workers, waiting)
    return workers, waiting


def find_workers() -> list[WorkerReport]:
    """Raises RedisError."""
    workers = live_workers(sync_client(settings.REDIS_URL))
    note_workers(workers)
    return workers


def queue_length(workers: Sequence[WorkerReport] | None = None) -> int:
    """Messages that no worker has picked up, of all `workers` (None: those of now) together.

    Raises RedisError.
    """
    client = sync_client(settings.REDIS_URL)
    known = live_workers(client) if workers is None else workers
    if len(known) < 2:  # the common queue is all that is used
        return int(client.llen(queue_list(QUEUE)))
    pipeline = client.pipeline(transaction=False)
    for queue in (QUEUE, *(queue_of(worker.name) for worker in known)):
        pipeline.llen(queue_list(queue))
    return sum(pipeline.execute())


def queue_list(queue: str) -> str:
    """kombu's list of a queue, behind the prefix of CELERY_BROKER_TRANSPORT_OPTIONS."""
    return f"lg:{queue}"
