"""Waits in a web process for the end of a batch, however many items it has.

The database is asked, not the items' streams: a worker settles a row before it says so anywhere, one
small query answers for all items, and nothing is read of the tokens that nobody looks at. The same
things can happen as in `inference.waiting`: the caller leaves or loses its right, no worker lives, the
deadline passes.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time

import redis
from asgiref.sync import sync_to_async
from django.db import Error as DatabaseError
from django.db import connections
from django.utils import timezone

from accounts.rights_watch import Holder, watch_rights
from inference.admission import find_workers
from inference.models import Batch, InferenceJob
from inference.readers import INTERVAL, reading
from inference.services.batches import abandon_batch, cancel_batch
from inference.stream import JobKeys
from inference.stream_hub import hub_of_this_loop
from inference.waiting import DEADLINE_GRACE, WORKER_GRACE
from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

# The first looks follow each other closely, for small batches; later ones cost less than they delay.
_FIRST_PAUSE, _LONGEST_PAUSE, _PAUSE_GROWTH = 0.05, 0.25, 1.1
_WORKERS_INTERVAL = 2.0
#: Those of batches whose callers have left; a loop alone would forget them.
_leaving: set[asyncio.Task[None]] = set()


async def wait_for_batch(batch: Batch, holder: Holder, grace: float = 0.0) -> None:
    """Return once every item has ended. Leaving early (cancellation) ends the rest, `grace` seconds
    later, unless somebody waits for it again then.

    Raises AppError when `holder` has lost the right to it, which ends the rest at once.
    """
    ended = False
    with watch_rights(holder) as rights, reading(str(batch.pk)) as waiter:
        try:
            pause, no_workers = _FIRST_PAUSE, _NoWorkers()
            while not await _has_ended(batch):
                if rights.lost is not None:
                    raise AppError(rights.lost.code, rights.lost.message)
                if timezone.now().timestamp() > batch.deadline_at.timestamp() + DEADLINE_GRACE:
                    await _abandon(batch, ErrorCode.DEADLINE_EXCEEDED)
                    break
                if await no_workers.for_too_long():
                    await _abandon(batch, ErrorCode.NO_WORKER)
                    break
                await asyncio.sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * _PAUSE_GROWTH)
            ended = True
        finally:
            if not ended and waiter.is_alone:
                _leave(batch, 0.0 if rights.lost else grace)


def _leave(batch: Batch, grace: float) -> None:
    """Not awaited: the task may be in the middle of its end."""
    loop = asyncio.get_running_loop()
    if not grace:
        loop.run_in_executor(None, _cancel_quietly, batch)
        return
    # A context of its own: its log lines belong to no request.
    task = loop.create_task(_cancel_unless_awaited(batch, grace), context=contextvars.Context())
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _cancel_unless_awaited(batch: Batch, grace: float) -> None:
    client, key = hub_of_this_loop().client, JobKeys(str(batch.pk)).reader
    try:
        await client.delete(key)
        await asyncio.sleep(max(grace, 2 * INTERVAL))  # another one gives its sign meanwhile
        if await client.exists(key):
            return
    except redis.RedisError as error:
        logger.warning("batch %s: it is not known who waits for it: %s", batch.pk, error)
    await asyncio.get_running_loop().run_in_executor(None, _cancel_quietly, batch)


class _NoWorkers:
    """Whether no worker has lived for a while, asked as often as one likes."""

    def __init__(self) -> None:
        self._asked_at = self._seen_at = time.monotonic()

    async def for_too_long(self) -> bool:
        now = time.monotonic()
        if now - self._asked_at < _WORKERS_INTERVAL:
            return False
        self._asked_at = now
        try:
            if await sync_to_async(find_workers, thread_sensitive=False)():
                self._seen_at = now
        except redis.RedisError as error:
            logger.warning("it is not known which workers live: %s", error)
            self._seen_at = now
        return now - self._seen_at > WORKER_GRACE


async def _has_ended(batch: Batch) -> bool:
    try:
        return not await sync_to_async(_has_live_jobs, thread_sensitive=False)(batch)
    except DatabaseError as error:
        logger.warning("batch %s: its rows cannot be read, trying again: %s", batch.pk, error)
        return False


def _has_live_jobs(batch: Batch) -> bool:
    try:
        return InferenceJob.objects.live().filter(batch_item__batch_id=batch.pk).exists()
    finally:
        release_connections()


_REASONS = {
    ErrorCode.DEADLINE_EXCEEDED: "The job did not end within its time limit.",
    ErrorCode.NO_WORKER: "The worker that ran this job is gone and no other one is running.",
}


async def _abandon(batch: Batch, code: ErrorCode) -> None:
    def abandon() -> None:
        try:
            abandon_batch(batch=batch, code=code, message=_REASONS[code])
        except DatabaseError as error:  # a reaper will settle the rows
            logger.warning("batch %s: its rows were not settled: %s", batch.pk, error)
        finally:
            release_connections()

    await sync_to_async(abandon, thread_sensitive=False)()


def _cancel_quietly(batch: Batch) -> None:
    try:
        cancel_batch(batch=batch)
    except (AppError, DatabaseError) as error:
        logger.warning("batch %s: could not be cancelled: %s", batch.pk, error)
    finally:
        connections.close_all()
