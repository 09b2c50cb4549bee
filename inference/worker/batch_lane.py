"""The lane of batches in a worker: jobs that came many in a message, a few of them run at a time.

The lane takes the leases of all jobs of a message at once and gives Celery its thread back, so that
batches, however many, never keep a call for which somebody waits from being begun. Whoever dies leaves
leases behind that run out, and the reaper begins the jobs again.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from inference.models import InferenceJob
from inference.protocol import GenerationJob
from inference.services.attempts import message_for
from inference.worker.generation import JobRunner

# Of an engine's slots, one in so many is left to single calls.
_SPARE_SHARE = 8


class BatchLane:
    """`num_slots` is what an engine runs at once; the lane fills most of it and keeps the rest free."""

    def __init__(self, runner: JobRunner, num_slots: int) -> None:
        self._runner = runner
        width = max(1, num_slots - max(1, num_slots // _SPARE_SHARE))
        self._threads = ThreadPoolExecutor(width, thread_name_prefix="batch")
        self._is_draining = False

    def take(self, job_ids: Sequence[str]) -> int:
        """Accept these jobs, in order, and return at once; how many were accepted.

        Those that have ended or run elsewhere are left alone. Raises RedisError and django.db.Error;
        what was not accepted then is found by the reaper.
        """
        num_accepted = 0
        for job in _read(job_ids):
            if self._is_draining:
                break
            if self._runner.accept(job):
                num_accepted += 1
                try:
                    self._threads.submit(self._runner.finish, job.job_id)
                except RuntimeError:  # closed meanwhile
                    self._runner.give_back(job.job_id)
        return num_accepted

    def drain(self) -> None:
        """Begin nothing more. The runner must drain too: it gives back what waits here."""
        self._is_draining = True
        self._threads.shutdown(wait=False)


def _read(job_ids: Sequence[str]) -> list[GenerationJob]:
    """The live ones of these jobs, in the order of `job_ids`."""
    try:
        rows = InferenceJob.objects.live().select_related("model")
        found = rows.in_bulk([uuid.UUID(job_id) for job_id in job_ids])
    finally:
        connections.close_all()
    wanted = (found.get(uuid.UUID(job_id)) for job_id in job_ids)
    return [message_for(row) for row in wanted if row is not None]
