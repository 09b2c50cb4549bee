"""Writes beginnings and ends of jobs to the database, in batches, from one thread.

Order matters: the row is settled first, then the terminal event goes out, then the lease is freed.
A database that is away delays the row, not the caller: after a few seconds the event goes out, and
the settlement is kept until it can be written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connections

from inference.services.attempts import JobStart, start_jobs
from inference.services.settlement import Settlement, settle_jobs
from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.batch_queue import BatchQueue

logger = logging.getLogger(__name__)

Row = TypeVar("Row", JobStart, Settlement)

# The database is away, or busy: what was to be written is right.
_PASSING = (OperationalError, InterfaceError)
_MAX_BATCH = 128
_PATIENCE = 3.0
_RETRY_PAUSE = 0.5
# A beginning waits so long for company, and for the end of its own job: that goes into the same
# statement then.
_START_PATIENCE = 0.05
_MAX_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Ending:
    """A settlement and what to do once it is written (or cannot be for now)."""

    settlement: Settlement
    then: Callable[[], None]


class Recorder:
    def __init__(self) -> None:
        self._unwritten: list[Settlement] = []
        self._starts: dict[str, JobStart] = {}
        self._starts_due = 0.0
        self._is_closing = False
        self._queue: BatchQueue[JobStart | Ending] = BatchQueue(
            "recorder",
            self._record,
            max_batch=_MAX_BATCH,
            idle=self._longest_wait,
        )

    def started(self, start: JobStart) -> None:
        self._queue.put(start)

    def ended(self, ending: Ending) -> None:
        self._queue.put(ending)

    def close(self, timeout: float) -> None:
        """Write what is queued, for at most `timeout` seconds.

        What cannot be written is found again by a reaper: the jobs' streams hold their ends.
        """
        self._is_closing = True
        self._queue.close(timeout)

    def _longest_wait(self) -> float | None:
        """Seconds after which the thread wakes up although nothing has come."""
        if self._starts:
            return max(0.0, self._starts_due - time.monotonic())
        return _PATIENCE if self._unwritten else None

    def _record(self, batch: list[JobStart | Ending]) -> None:
        keep_connections()
        endings = []
        for item in batch:
            if isinstance(item, Ending):
                endings.append(item)
            else:
                if not self._starts:
                    self._starts_due = time.monotonic() + _START_PATIENCE
                self._starts[item.job_id] = item
        settlements = [self._with_start(ending.settlement) for ending in endings]
        starts = self._due_starts()
        try:
            self._write(starts, settlements)
        finally:
            release_connections()
        for ending in endings:
            try:
                ending.then()
            except Exception:  # the others' callers wait too
                logger.exception("job %s: its end cannot be told", ending.settlement.job_id)

    def _with_start(self, settlement: Settlement) -> Settlement:
        """A job's only attempt needs no statement of its own for its beginning."""
        start = self._starts.get(settlement.job_id)
        if start is None or start.attempt != 1 or settlement.attempt != 1:
            return settlement
        del self._starts[settlement.job_id]
        return replace(settlement, start=start)

    def _due_starts(self) -> list[JobStart]:
        """All that wait, once the first of them has waited long enough or begins a job again."""
        is_due = self._is_closing or time.monotonic() >= self._starts_due
        if not is_due and all(start.attempt == 1 for start in self._starts.values()):
            return []
        starts = list(self._starts.values())
        self._starts.clear()
        return starts

    def _write(self, starts: list[JobStart], settlements: list[Settlement]) -> None:
        pending = self._unwritten + settlements
        give_up_at = time.monotonic() + _PATIENCE
        while starts or pending:
            try:
                starts = _written(start_jobs, starts)
                pending = _written(settle_jobs, pending)
            except _PASSING as error:
                logger.warning("%s job rows could not be written: %s", len(pending), error)
                connections.close_all()
                if time.monotonic() >= give_up_at:
                    break
                time.sleep(_RETRY_PAUSE)
        self._unwritten = pending[-_MAX_KEPT:]


def _written(write: Callable[[list[Row]], object], rows: list[Row]) -> list[Row]:
    """Write them together; where the database refuses one of them, each alone. Nothing is left.

    Raises what says that the database is away. Both writes may be repeated.
    """
    try:
        if rows:
            write(rows)
    except _PASSING:
        raise
    except Exception:
        if len(rows) == 1:
            logger.exception("job %s: its row is refused, a reaper will end it", rows[0].job_id)
            return []
        for row in rows:
            _written(write, [row])
    return []
