"""The lane of batches in a worker: jobs that came many in a message, a few of them run at a time.

The lane takes the leases of all jobs of a message at once and gives Celery its thread back, so that
batches, however many, never keep a call for which somebody waits from being begun. Whoever dies leaves
leases behind that run out, and the reaper begins the jobs again.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from django.db import connections

from inference.batch_room import batch_width, most_of
from inference.models import InferenceJob
from inference.presence import EngineReport
from inference.protocol import GenerationJob
from inference.services.attempts import message_for
from inference.worker.generation import JobRunner

# Seconds after which a job that waits for its turn looks at the engines again.
_LOOK_INTERVAL = 0.25


class BatchLane:
    """`num_slots` is what an engine runs at most; `engines` tells what those here do at present.

    How many jobs run side by side follows from both (`inference.batch_room`), and never keeps a slot
    that a single call could have.
    """

    def __init__(
        self,
        runner: JobRunner,
        num_slots: int,
        engines: Callable[[], Sequence[EngineReport]] = tuple,
        memory_available: Callable[[], int | None] = lambda: None,
    ) -> None:
        self._runner = runner
        self._engines = engines
        self._memory_available = memory_available
        self._most = most_of(num_slots)
        self._threads = ThreadPoolExecutor(self._most, thread_name_prefix="batch")
        self._turn = threading.Condition()
        self._num_taken = self._num_running = 0
        self._is_draining = False

    def take(self, job_ids: Sequence[str], traceparent: str = "") -> int:
        """Accept these jobs of a trace, in order, and return at once; how many were accepted.

        Those that have ended or run elsewhere are left alone. Raises RedisError and django.db.Error;
        what was not accepted then is found by the reaper.
        """
        num_accepted = 0
        for job in _read(job_ids):
            if self._is_draining:
                break
            if self._runner.accept(replace(job, traceparent=traceparent)):
                num_accepted += 1
                with self._turn:
                    self._num_taken += 1
                try:
                    self._threads.submit(self._finish, job.job_id)
                except RuntimeError:  # closed meanwhile
                    self._runner.give_back(job.job_id)
        return num_accepted

    def drain(self) -> None:
        """Begin nothing more. The runner must drain too: it gives back what waits here."""
        with self._turn:
            self._is_draining = True
            self._turn.notify_all()
        self._threads.shutdown(wait=False)

    @property
    def width(self) -> int:
        """Jobs that may run here at once, by what the engines do now."""
        now = batch_width(
            self._engines(),
            num_others=max(0, self._runner.num_active - self._num_taken),
            num_batch_jobs=self._num_running,
            memory_available=self._memory_available(),
        )
        # Without an engine the first job has it loaded, and the rest wait for it.
        return min(self._most, now or self._most)

    def _finish(self, job_id: str) -> None:
        """In a thread of the lane: wait for a job's turn, and run it."""
        with self._turn:
            while not self._is_draining and self._num_running >= self.width:
                self._turn.wait(_LOOK_INTERVAL)
            self._num_running += 1
        try:
            self._runner.finish(job_id)
        finally:
            with self._turn:
                self._num_running -= 1
                self._num_taken -= 1
                self._turn.notify()


def _read(job_ids: Sequence[str]) -> list[GenerationJob]:
    """The live ones of these jobs, in the order of `job_ids`."""
    try:
        rows = InferenceJob.objects.live().select_related("model", "owner__role")
        found = rows.in_bulk([uuid.UUID(job_id) for job_id in job_ids])
    finally:
        connections.close_all()
    wanted = (found.get(uuid.UUID(job_id)) for job_id in job_ids)
    return [message_for(row, row.owner.role.slug) for row in wanted if row is not None]
