"""Signs of life of those who read jobs' streams, so that a job that nobody reads can be ended.

A web process that dies says nothing any more; what it read for is then without a reader, which
workers notice (`inference.worker.reader_watch`). One task per event loop gives the signs for all
readers together, and only for those who stay: a short answer costs nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from inference.stream import READER_LIFETIME, JobKeys
from inference.stream_hub import hub_of_this_loop

logger = logging.getLogger(__name__)

#: Seconds between two signs.
INTERVAL = 2.0


class Reader:
    """Somebody who reads a job's stream."""

    def __init__(self, signs: _Signs, job_id: str) -> None:
        self._signs = signs
        self._job_id = job_id

    @property
    def is_alone(self) -> bool:
        """Whether nobody else on this loop reads the same job."""
        return self._signs.num_readers(self._job_id) <= 1


@contextmanager
def reading(job_id: str) -> Iterator[Reader]:
    """A reader of a job's stream, for as long as the block lasts. To be entered on an event loop."""
    signs = _signs_of_this_loop()
    signs.add(job_id)
    try:
        yield Reader(signs, job_id)
    finally:
        signs.remove(job_id)


class _Signs:
    def __init__(self) -> None:
        self._readers: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None

    def add(self, job_id: str) -> None:
        self._readers[job_id] += 1
        if self._task is None or self._task.done():
            # A context of its own: its log lines belong to no request.
            self._task = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context()
            )

    def remove(self, job_id: str) -> None:
        self._readers[job_id] -= 1
        if not self._readers[job_id]:
            del self._readers[job_id]

    def num_readers(self, job_id: str) -> int:
        return self._readers[job_id]

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            if not self._readers:
                return  # the next reader begins anew
            pipeline = hub_of_this_loop().client.pipeline(transaction=False)
            for job_id in self._readers:
                pipeline.set(JobKeys(job_id).reader, b"1", ex=READER_LIFETIME)
            try:
                await pipeline.execute()
            except redis.RedisError as error:
                logger.warning("readers could not give a sign of life: %s", error)


_signs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Signs] = weakref.WeakKeyDictionary()


def _signs_of_this_loop() -> _Signs:
    loop = asyncio.get_running_loop()
    if loop not in _signs:
        _signs[loop] = _Signs()
    return _signs[loop]
