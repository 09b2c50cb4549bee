"""Samples on their way to the database: gathered in memory, written together every few seconds.

While the database is away, or its disk is full, they wait here: a bounded number of them, and then the
oldest are dropped and counted. A process that is killed loses the few seconds that it had not written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from django.db import Error

from monitoring.history.samples import Sample, gather
from monitoring.services.history import kept_from, write_samples

logger = logging.getLogger(__name__)

#: Ten minutes of one reading a second of the node and of the cluster.
MAX_WAITING = 1200
_PER_TRANSACTION = 200


class Recorder:
    """`add` from the sampler's thread, `flush` from another. `dropped` counts lost samples."""

    def __init__(self, max_waiting: int = MAX_WAITING) -> None:
        self._waiting: deque[Sample] = deque()
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        # By node what its newest row says: a second reading of that second must not take its place.
        self._newest: dict[str, Sample] = {}
        self._is_away = False
        self.dropped = 0

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def add(self, sample: Sample) -> None:
        with self._lock:
            self._waiting.append(sample)
            while len(self._waiting) > self._max_waiting:
                self._waiting.popleft()
                self.dropped += 1

    def flush(self) -> bool:
        """Write what waits; False where the database does not take it, and then it waits on."""
        while batch := self._next_batch():
            fresh = [s for s in batch if s.start >= kept_from(s.resolution, time.time())]
            merged = gather([*self._written_before(fresh), *fresh], 1)
            try:
                write_samples(merged)
            except Error as error:
                self._note_away(error)
                return False
            with self._lock:
                # Others may have been dropped from the front meanwhile.
                written = {id(sample) for sample in batch}
                while self._waiting and id(self._waiting[0]) in written:
                    self._waiting.popleft()
                self.dropped += len(batch) - len(fresh)
            self._newest.update({sample.node: sample for sample in merged})
        if self._is_away:
            self._is_away = False
            logger.info("the history is written again; %d samples were lost", self.dropped)
        return True

    def _written_before(self, samples: list[Sample]) -> list[Sample]:
        """What the rows of these seconds say already."""
        seconds = {(sample.node, sample.start) for sample in samples}
        return [s for s in self._newest.values() if (s.node, s.start) in seconds]

    def _next_batch(self) -> list[Sample]:
        with self._lock:
            return [self._waiting[i] for i in range(min(_PER_TRANSACTION, len(self._waiting)))]

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning("the history waits in memory, the database does not take it: %s", error)
