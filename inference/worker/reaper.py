"""Finds jobs that nobody works on and begins them again, or ends them.

It looks at live rows and asks their leases: held by a worker that lives, the job is fine; held by a
dead one, it is taken over. One whose stream has its end is settled from there. A queued job without
a lease whose message was lost is rung for again. Several reapers may run: a conditional UPDATE lets
only one of them act.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import redis
from django.db import Error, connections
from django.utils import timezone

from inference.admission import queue_length
from inference.dispatch import BrokerUnavailableError, ring, ring_many
from inference.models import InferenceJob
from inference.presence import live_workers
from inference.protocol import ErrorEvent, GenerationJob
from inference.services.attempts import message_for, next_attempt
from inference.services.batches import MAX_CHUNK
from inference.services.settlement import published_usage, settle_jobs, settlement_of
from inference.states import JobState
from inference.stream import KEEP_AFTER_END, JobKeys, append, last_event
from inference.worker.generation import MAX_ATTEMPTS
from inference.worker.leases import Holder, free
from inference.worker.publisher import ENDED_LIFETIME
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

_INTERVAL = 1.0
_MAX_ROWS = 500
# A row this young may simply be on its way to a worker.
_YOUNG = timedelta(seconds=2)
_MESSAGE_LOST = timedelta(seconds=10)
_OVERDUE = timedelta(seconds=10)


class Reaper:
    def __init__(self, client: SyncRedis) -> None:
        self._client = client
        self._of_batches: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            try:
                self.sweep()
            except (redis.RedisError, Error, BrokerUnavailableError) as error:
                logger.warning("the reaper will try again: %s", error)
            finally:
                connections.close_all()

    def sweep(self) -> int:
        """One look at every live job; how many were taken over, rung for or ended.

        Raises RedisError, django.db.Error and BrokerUnavailableError; the next sweep goes on.
        """
        rows = list(
            InferenceJob.objects.live()
            .filter(created_at__lt=timezone.now() - _YOUNG)
            .select_related("model", "batch_item")
            # A long batch must not hide the calls for which somebody waits.
            .order_by("-priority", "created_at")[:_MAX_ROWS]
        )
        if not rows:
            return 0
        leases = self._client.mget([JobKeys(str(row.pk)).lease for row in rows])
        alive = {(worker.name, worker.instance) for worker in live_workers(self._client)}
        try:
            pairs = zip(rows, leases, strict=True)
            return sum(self._tend(row, lease, alive) for row, lease in pairs)
        finally:
            self._ring_for_batches()

    def _ring(self, row: InferenceJob, job: GenerationJob) -> None:
        """Those of batches wait for the end of the sweep: a worker takes their leases all at once.

        One message for each would keep most of them waiting without a lease, which looks like death.
        """
        if hasattr(row, "batch_item"):
            self._of_batches.append(job.job_id)
        else:
            ring(job)

    def _ring_for_batches(self) -> None:
        while self._of_batches:
            chunk = self._of_batches[:MAX_CHUNK]
            del self._of_batches[:MAX_CHUNK]
            ring_many(chunk)

    def _tend(self, row: InferenceJob, lease: bytes | None, alive: set[tuple[str, str]]) -> bool:
        now = timezone.now()
        holder = Holder.decode(lease) if lease else None
        if holder and (holder.worker, holder.instance) in alive:
            return False
        if ending := last_event(self._client, str(row.pk)):
            # Its worker told the caller, but could not reach the database.
            return bool(settle_jobs([settlement_of(str(row.pk), row.attempt, ending)]))
        if now > row.deadline_at + _OVERDUE:
            self._end(
                row, ErrorCode.DEADLINE_EXCEEDED, "The job did not end within its time limit."
            )
            return True
        if holder or row.state == JobState.RUNNING:
            return self._take_over(row, lease)
        is_lost = now - row.created_at > _MESSAGE_LOST and queue_length() == 0
        if is_lost:
            logger.warning("job %s: its message was lost, ringing again", row.pk)
            self._ring(row, message_for(row))
        return is_lost

    def _take_over(self, row: InferenceJob, lease: bytes | None) -> bool:
        """The worker of this attempt is dead."""
        if row.attempt >= MAX_ATTEMPTS:
            self._end(
                row,
                ErrorCode.INFERENCE_FAILED,
                "The worker died each time it worked on this request.",
            )
            return True
        job = next_attempt(row)
        if job is None:
            return False
        if lease:
            free(self._client, job.job_id, lease)
        logger.warning("job %s: its worker is gone, attempt %s begins", job.job_id, job.attempt)
        self._ring(row, job)
        return True

    def _end(self, row: InferenceJob, code: ErrorCode, message: str) -> None:
        job_id, attempt = str(row.pk), row.attempt + 1
        event = ErrorEvent(code, message, published_usage(row))
        settled = settle_jobs([settlement_of(job_id, attempt, event)])
        if not settled:
            return
        logger.warning("job %s: ended by the reaper: %s", job_id, code)
        keys = JobKeys(job_id)
        pipeline = self._client.pipeline(transaction=False)
        append(pipeline, keys, f"{attempt}-1", event, KEEP_AFTER_END)
        pipeline.set(keys.ended, b"1", ex=ENDED_LIFETIME)
        pipeline.delete(keys.lease)
        pipeline.execute()
