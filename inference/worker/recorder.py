"""Writes beginnings and ends of jobs to the database, in batches, from one thread.

Order matters: the row is settled first, then the terminal event goes out, then the lease is freed.
A database that is away delays the row, not the caller: after a few seconds the event goes out, and
the settlement is kept until it can be written.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import Error, close_old_connections, connections

from inference.services import JobStart, Settlement, settle_jobs, start_jobs

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
        self._queue: queue.SimpleQueue[JobStart | Ending | None] = queue.SimpleQueue()
        self._unwritten: list[Settlement] = []
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def started(self, start: JobStart) -> None:
        self._queue.put(start)

    def ended(self, ending: Ending) -> None:
        self._queue.put(ending)

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most `timeout` seconds."""
        self._queue.put(None)
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            batch = self._next_batch()
            starts = [item for item in batch if isinstance(item, JobStart)]
            endings = [item for item in batch if isinstance(item, Ending)]
            self._write(starts, [ending.settlement for ending in endings])
            for ending in endings:
                ending.then()
            if None in batch:
                connections.close_all()
                return

    def _next_batch(self) -> list[JobStart | Ending | None]:
        try:
            # With settlements left over, wake up now and then to write them.
            batch = [self._queue.get(timeout=_PATIENCE if self._unwritten else None)]
        except queue.Empty:
            return []
        while len(batch) < _MAX_BATCH:
            try:
                batch.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return batch

    def _write(self, starts: list[JobStart], settlements: list[Settlement]) -> None:
        pending = self._unwritten + settlements
        give_up_at = time.monotonic() + _PATIENCE
        while starts or pending:
            try:
                close_old_connections()
                if starts:
                    start_jobs(starts)
                    starts = []
                if pending:
                    settle_jobs(pending)
                    pending = []
            except Error as error:
                logger.warning("%s job rows could not be written: %s", len(pending), error)
                if time.monotonic() >= give_up_at:
                    break
                time.sleep(_RETRY_PAUSE)
        self._unwritten = pending[-_MAX_KEPT:]
