"""Stage 3/7, its second half: rings the worker's bell through Celery, by task name.

The message may be lost or come twice: the job row is the truth, the reaper rings again.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from kombu.exceptions import OperationalError

from inference.protocol import GenerationJob
from inference.wire import to_builtins
from llamagpu.celery import app

TASK_NAME = "inference.generate"
MANY_TASK_NAME = "inference.generate_many"
QUEUE = "inference"


class BrokerUnavailableError(Exception):
    """The message could not be handed to Redis."""


def queue_of(worker: str) -> str:
    """The queue that one worker alone listens to."""
    return f"{QUEUE}.{worker}"


def ring(job: GenerationJob, queue: str = QUEUE) -> None:
    """Publish one message for `job`, to all workers or to one. Raises BrokerUnavailableError."""
    try:
        app.send_task(
            TASK_NAME,
            args=[to_builtins(job)],
            task_id=f"{job.job_id}.{job.attempt}",
            queue=queue,
            # What Celery's own tools show: by itself it would print the prompt.
            argsrepr=f"('{job.job_id}',)",
        )
    except (OperationalError, OSError) as error:
        raise BrokerUnavailableError(str(error)) from error


def ring_many(job_ids: Sequence[str], queue: str = QUEUE, traceparent: str = "") -> None:
    """Publish one message for all these jobs, which are read from their rows; and their call's trace.

    Raises BrokerUnavailableError.
    """
    try:
        app.send_task(
            MANY_TASK_NAME,
            args=[list(job_ids)],
            kwargs={"traceparent": traceparent} if traceparent else {},
            task_id=f"batch.{uuid.uuid4()}",
            queue=queue,
        )
    except (OperationalError, OSError) as error:
        raise BrokerUnavailableError(str(error)) from error
