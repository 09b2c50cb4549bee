"""Who runs a job: one lease per job in Redis, renewed while it runs, and who wants it to end.

A message may come twice and a worker may die: whoever holds the lease runs the job, everybody else
leaves it alone. The reaper frees the leases of the dead. With each renewal the worker looks for the
job's cancel mark and for its readers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from inference.lease import LEASE_MS, Holder, free
from inference.protocol import GenerationJob
from inference.stream import JobKeys
from inference.worker.reader_watch import FORSAKEN, ReaderWatch
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

_WATCH_INTERVAL = 0.4


class Claim(StrEnum):
    GRANTED = "granted"
    TAKEN = "taken"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class _Lease:
    """A held one: its value in Redis, and for how long its job goes on without a reader."""

    value: bytes
    reader_grace: float | None


class Leases:
    """The leases of this worker. One thread renews them and looks for reasons to end a job.

    `on_cancel(job_id, reason)` is called from that thread, once per job; `on_lost(job_id)` when
    another worker has taken the job.
    """

    def __init__(
        self,
        client: SyncRedis,
        worker: str,
        instance: str,
        on_cancel: Callable[[str, str], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._client = client
        self._worker = worker
        self._instance = instance
        self._on_cancel = on_cancel
        self._on_lost = on_lost
        self._held: dict[str, _Lease] = {}
        self._cancelled: set[str] = set()
        self._readers = ReaderWatch()
        self._lock = threading.Lock()
        self._work = threading.Event()
        self._is_closed = False
        threading.Thread(target=self._watch, name="leases", daemon=True).start()

    @property
    def num_held(self) -> int:
        return len(self._held)

    def claim(self, job: GenerationJob) -> Claim:
        """Try to become the one who runs `job`. Raises RedisError."""
        keys = JobKeys(job.job_id)
        value = Holder(self._worker, self._instance, job.attempt).encode()
        pipeline = self._client.pipeline(transaction=False)
        pipeline.exists(keys.ended)
        pipeline.set(keys.lease, value, nx=True, px=LEASE_MS)
        ended, granted = pipeline.execute()
        if ended:
            if granted:
                self._client.delete(keys.lease)
            return Claim.ENDED
        if not granted:
            return Claim.TAKEN
        with self._lock:
            self._held[job.job_id] = _Lease(value, job.reader_grace)
        self._work.set()
        return Claim.GRANTED

    def release(self, job_id: str) -> None:
        """Let go of a job. An unreachable Redis is no obstacle: the lease runs out by itself."""
        with self._lock:
            lease = self._held.pop(job_id, None)
            self._cancelled.discard(job_id)
            if not self._held:
                self._work.clear()
        if lease is not None:
            try:
                free(self._client, job_id, lease.value)
            except redis.RedisError as error:
                logger.warning("job %s: its lease was not freed: %s", job_id, error)

    def close(self) -> None:
        """Renew nothing any more: what is still held runs out."""
        self._is_closed = True
        self._work.set()

    def _watch(self) -> None:
        while not self._is_closed:
            self._work.wait()  # no job, no polling
            try:
                self._look()
            except redis.RedisError as error:
                logger.warning("leases could not be renewed: %s", error)
            time.sleep(_WATCH_INTERVAL)

    def _look(self) -> None:
        answers: list[Any] = []
        with self._lock:  # until it is written: what is let go of meanwhile must not come back
            held = dict(self._held)
            self._readers.keep_only(held)
            if held:
                answers = self._renew(held)
        found = zip(answers[::3], answers[1::3], answers[2::3], strict=True)
        for (job_id, lease), (before, reason, is_read) in zip(held.items(), found, strict=True):
            grace = lease.reader_grace
            is_forsaken = self._readers.is_forsaken(job_id, grace, is_read=bool(is_read))
            if before is not None and before != lease.value:
                self._give_up(job_id, before)
            elif reason is not None:
                self._report_cancel(job_id, reason.decode())
            elif is_forsaken:
                self._report_cancel(job_id, FORSAKEN)

    def _renew(self, held: dict[str, _Lease]) -> list[Any]:
        """Three answers a job: the lease before, why it shall be cancelled, whether it is read."""
        pipeline = self._client.pipeline(transaction=False)
        for job_id, lease in held.items():
            keys = JobKeys(job_id)
            # Written anew rather than extended: a Redis that lost its memory gets it back.
            pipeline.set(keys.lease, lease.value, px=LEASE_MS, get=True)
            pipeline.get(keys.cancel)
            pipeline.exists(keys.reader)
        return pipeline.execute()

    def _give_up(self, job_id: str, owner: bytes) -> None:
        """Another worker had the lease: put it back and stop."""
        with self._lock:
            self._held.pop(job_id, None)
        self._client.set(JobKeys(job_id).lease, owner, px=LEASE_MS)
        self._on_lost(job_id)

    def _report_cancel(self, job_id: str, reason: str) -> None:
        with self._lock:
            is_new = job_id in self._held and job_id not in self._cancelled
            self._cancelled.add(job_id)
        if is_new:
            self._on_cancel(job_id, reason)
