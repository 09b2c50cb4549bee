"""Celery's messages and queues, from its own signals and from Redis."""

from __future__ import annotations

from functools import cache
from typing import Any

import redis
from celery.signals import after_task_publish, task_failure, task_prerun
from django.conf import settings

from inference import metrics
from inference.admission import queue_list
from inference.dispatch import QUEUE, queue_of
from inference.presence import live_workers
from llamagpu.lib.redis_client import SyncRedis, impatient_client
from monitoring.metrics import REGISTRY


def register() -> None:
    REGISTRY.add_source(look)


def look() -> None:
    """The length of every queue. Many processes do so; the one that looked last is right."""
    metrics.QUEUE_LENGTH.clear()
    try:
        client = _client()
        queues = [QUEUE, *(queue_of(worker.name) for worker in live_workers(client))]
        pipeline = client.pipeline(transaction=False)
        for queue in queues:
            pipeline.llen(queue_list(queue))
        for queue, length in zip(queues, pipeline.execute(), strict=True):
            metrics.QUEUE_LENGTH.set(length, queue=queue)
    except redis.RedisError:
        return  # the flush that comes next says so


@cache
def _client() -> SyncRedis:
    return impatient_client(settings.REDIS_URL)


@after_task_publish.connect
def _note_published(sender: Any = None, **kwargs: Any) -> None:
    metrics.PUBLISHED.inc(task=sender)


@task_prerun.connect
def _note_begun(task: Any = None, **kwargs: Any) -> None:
    metrics.CONSUMED.inc(task=task.name)


@task_failure.connect
def _note_failed(sender: Any = None, **kwargs: Any) -> None:
    metrics.TASK_FAILURES.inc(task=sender.name)
