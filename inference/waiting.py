"""Follows a job from a web process: its events, its deadline, its caller and its workers.

What can go wrong while a caller waits, and what happens then:
- the caller leaves: the job is cancelled at once, a resumable one once its grace is over;
- the caller loses the right to it (key, account, session, role): the same, and the caller is told;
- Redis goes away: reading goes on where it stopped, until the deadline;
- no worker lives for `WORKER_GRACE` seconds, or the deadline passes without an end: the job is
  settled from here and the caller gets an error.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError

from accounts.rights_watch import Holder, watch_rights
from inference.admission import find_workers
from inference.protocol import ErrorEvent, GenerationJob
from inference.readers import reading
from inference.services.cancellation import abandon_job, cancel_left_job
from inference.stream import Events, JobKeys, Position, is_terminal
from inference.stream_hub import read_events
from llamagpu.http.database import release_connections
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client

logger = logging.getLogger(__name__)

#: Seconds without any live worker after which a waiting caller is told. A killed worker that is
#: supervised is back, and has taken its jobs up again, well within them.
WORKER_GRACE = 20.0
#: Seconds that the worker has, after the deadline, to say so itself.
DEADLINE_GRACE = 5.0
_RETRY_PAUSE = 0.5


async def follow(job: GenerationJob, holder: Holder) -> Events:
    """Yields events with their places up to exactly one terminal event; None when there is no news.

    Ends with an error once `holder` has lost the right to the job. A consumer that stops early, by
    cancellation or by closing the iterator, cancels the job, unless somebody else on this loop reads
    it; a resumable one only has its grace from then on.
    """
    ended, at = False, Position()
    # Cancelling makes the worker end the stream, which wakes the reader below before its next look.
    with (
        watch_rights(holder, on_lost=lambda _: _cancel_soon(job.job_id)) as rights,
        reading(job.job_id) as reader,
    ):
        try:
            async for item in events_or_verdict(job, Position()):
                if rights.lost is not None:
                    yield at, ErrorEvent(rights.lost.code, rights.lost.message)
                    return
                if item is not None:
                    at, ended = item[0], is_terminal(item[1])
                yield item
        finally:
            if not ended and reader.is_alone:
                leave(job.job_id, job.reader_grace)


def leave(job_id: str, grace: float | None) -> None:
    """The last reader on this loop is gone: the job ends now, or its time without one begins."""
    if grace:
        _in_background(_forget_reader, job_id)
    else:
        _cancel_soon(job_id)


async def events_or_verdict(job: GenerationJob, after: Position) -> Events:
    """Yields what stands after `after` up to a terminal event; None when there is no news.

    Where no end comes, the job is ended from here; that event has the place of the one before.
    """
    deadline = time.monotonic() + max(0.0, job.deadline_unix - time.time()) + DEADLINE_GRACE
    at, worker_seen_at = after, time.monotonic()
    while time.monotonic() < deadline:
        try:
            async for item in read_events(job.job_id, after=at, until=deadline):
                if item is not None:
                    at = item[0]
                    worker_seen_at = time.monotonic()
                    yield item
                    if is_terminal(item[1]):
                        return
                    continue
                yield None
                if await sync_to_async(find_workers, thread_sensitive=False)():
                    worker_seen_at = time.monotonic()
                elif time.monotonic() - worker_seen_at > WORKER_GRACE:
                    message = "The worker that ran this job is gone and no other one is running."
                    yield at, await _abandon(job, ErrorCode.NO_WORKER, message)
                    return
        except redis.RedisError as error:
            logger.warning("job %s: reading its stream failed, trying again: %s", job.job_id, error)
            await asyncio.sleep(_RETRY_PAUSE)
            yield None
    message = "The job did not end within its time limit."
    yield at, await _abandon(job, ErrorCode.DEADLINE_EXCEEDED, message)


async def _abandon(job: GenerationJob, code: ErrorCode, message: str) -> ErrorEvent:
    abandon = sync_to_async(abandon_job, thread_sensitive=False)
    try:
        await abandon(job.job_id, job.attempt, code, message)
    except DatabaseError as error:  # the reaper will settle the row
        logger.warning("job %s: its row was not settled: %s", job.job_id, error)
    return ErrorEvent(code, message)


def _cancel_soon(job_id: str) -> None:
    _in_background(_cancel_quietly, job_id)


def _in_background(function: Callable[[str], None], job_id: str) -> None:
    """Not awaited: this may run while the task is being torn down."""
    asyncio.get_running_loop().run_in_executor(None, function, job_id)


def _cancel_quietly(job_id: str) -> None:
    try:
        cancel_left_job(job_id, "The caller left.")
    except DatabaseError as error:  # the reaper finds the mark
        logger.warning("job %s: its row was not settled: %s", job_id, error)
    finally:
        release_connections()


def _forget_reader(job_id: str) -> None:
    try:
        sync_client(settings.REDIS_URL).delete(JobKeys(job_id).reader)
    except redis.RedisError as error:  # it runs out by itself
        logger.warning("job %s: its reader's sign of life remains: %s", job_id, error)
