"""The door of the worker: Celery's message becomes a job that runs in this thread."""

from __future__ import annotations

import logging
from typing import Any

from celery import Task, shared_task

from inference.dispatch import MANY_TASK_NAME, TASK_NAME, queue_of
from inference.protocol import GenerationJob
from inference.wire import WireError, from_builtins
from inference.worker.runtime import current_runtime

logger = logging.getLogger(__name__)


@shared_task(name=TASK_NAME, bind=True)
def generate(self: Task, fields: dict[str, Any]) -> None:
    """Run one inference. A message that is no job is dropped: the row's reaper will see to it."""
    try:
        job = from_builtins(GenerationJob, fields)
    except WireError as error:
        logger.error("a message was dropped: %s", error)
        return
    current_runtime().run(job, is_addressed=_is_addressed(self))


@shared_task(name=MANY_TASK_NAME, bind=True)
def generate_many(self: Task, job_ids: list[str], traceparent: str = "") -> None:
    """Take a batch's jobs, which are read from their rows. What is not taken is found by the reaper."""
    current_runtime().run_many(job_ids, traceparent, is_addressed=_is_addressed(self))


def _is_addressed(task: Task) -> bool:
    """Whether the message came by the queue of this worker alone."""
    delivery = task.request.delivery_info or {}
    return bool(delivery.get("routing_key") == queue_of(str(task.request.hostname)))
