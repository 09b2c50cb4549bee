"""Writes beginnings and ends of jobs to the database, in batches, from one thread.

Order matters: the row is settled first, then the terminal event goes out, then the lease is freed.
A database that is away delays the row, not the caller: after a few seconds the event goes out, and
the settlement is kept until it can be written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import Error, connections

from inference.services.attempts import JobStart, start_jobs
from inference.services.settlement import Settlement, settle_jobs
from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.batch_queue import BatchQueue

logger = logging.getLogger(__name__)

_MAX_BATCH = 128
_PATIENCE = 3.0
_RETRY_PAUSE = 0.5
_MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Ending:
    """A settlement and what to do once it is written (or cannot be for now)."""

    settlement: Settlement
    then: Callable[[], None]


class Recorder:
    def __init__(self) -> None:
        self._unwritten: list[Settlement] = []
        self._queue: BatchQueue[JobStart | Ending] = BatchQueue(
            "recorder",
            self._record,
            max_batch=_MAX_BATCH,
            # With settlements left over, wake up now and then to write them.
            idle=lambda: _PATIENCE if self._unwritten else None,
        )

    def started(self, start: JobStart) -> None:
        self._queue.put(start)

    def ended(self, ending: Ending) -> None:
        self._queue.put(ending)

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most `timeout` seconds.

        What cannot be written is found again by a reaper: the jobs' streams hold their ends.
        """
        self._queue.close(timeout)

    def _record(self, batch: list[JobStart | Ending]) -> None:
        keep_connections()
        endings = [item for item in batch if isinstance(item, Ending)]
        try:
            self._write(
                [item for item in batch if isinstance(item, JobStart)],
                [ending.settlement for ending in endings],
            )
        finally:
            release_connections()
        for ending in endings:
            ending.then()

    def _write(self, starts: list[JobStart], settlements: list[Settlement]) -> None:
        pending = self._unwritten + settlements
        give_up_at = time.monotonic() + _PATIENCE
        while starts or pending:
            try:
                if starts:
                    start_jobs(starts)
                    starts = []
                if pending:
                    settle_jobs(pending)
                    pending = []
            except Error as error:
                logger.warning("%s job rows could not be written: %s", len(pending), error)
                connections.close_all()
                if time.monotonic() >= give_up_at:
                    break
                time.sleep(_RETRY_PAUSE)
        self._unwritten = pending[-_MAX_KEPT:]
