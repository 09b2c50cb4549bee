"""The door of the worker for batches of files: Celery's message becomes a spell of driving."""

from __future__ import annotations

import logging
import threading
import uuid
from typing import Any

import redis
from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.db import Error, connections

from inference.batch_bell import TASK_NAME, count_failure, ring_batch
from inference.dispatch import BrokerUnavailableError
from inference.models import FileBatch
from inference.openai_api.batch_driver import BatchDriver, give_up
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

#: Seconds that one message keeps a thread of the worker: others' messages have their turn in between.
SPELL = 20.0
#: Failures of one batch within an hour, of a kind that nobody foresaw, after which it is given up.
MAX_FAILURES = 5

_stopping = threading.Event()


@worker_shutting_down.connect
def _stop(**kwargs: Any) -> None:
    """Every driver leaves its batch to the next worker."""
    _stopping.set()


@shared_task(name=TASK_NAME)
def drive_file_batch(batch_id: str) -> None:
    """Drive a batch on for a while. What fails is tried again at the next ring."""
    client, key = sync_client(settings.REDIS_URL), uuid.UUID(batch_id)
    try:
        if BatchDriver(client, key, _stopping).drive(SPELL):
            ring_batch(client, key)
    except (redis.RedisError, Error, OSError, BrokerUnavailableError) as error:
        logger.warning("batch %s: the next spell will go on: %s", batch_id, error)
    except Exception:  # a batch that nobody can drive must come to an end all the same
        logger.exception("batch %s: unforeseen failure", batch_id)
        if count_failure(client, key) >= MAX_FAILURES:
            give_up(FileBatch.objects.get(pk=key))
    finally:
        connections.close_all()
