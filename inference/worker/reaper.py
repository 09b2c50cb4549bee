"""Finds jobs that nobody works on and begins them again, or ends them.

It looks at live rows and asks their leases: held by a worker that lives, the job is fine; held by a
dead one, it is taken over. One whose stream has its end is settled from there. A queued job without
a lease whose message was lost is rung for again. One that nobody waits for any more is ended rather
than run. Several reapers may run: a conditional UPDATE lets only one of them act.
"""

from __future__ import annotations

import logging
import threading
import uuid
from dataclasses import dataclass
from datetime import timedelta

import redis
from django.db import Error, InterfaceError, OperationalError
from django.utils import timezone

from inference import metrics
from inference.admission import queue_length
from inference.dispatch import BrokerUnavailableError, ring, ring_many
from inference.lease import Holder, free
from inference.models import InferenceJob
from inference.presence import live_workers
from inference.protocol import ErrorEvent, GenerationJob
from inference.services.attempts import message_for, next_attempt
from inference.services.batches import MAX_CHUNK
from inference.services.cancellation import cancel_left_job, end_job
from inference.services.settlement import published_usage, settle_jobs, settlement_of
from inference.states import JobState
from inference.stream import JobKeys, last_event
from inference.worker.generation import MAX_ATTEMPTS
from inference.worker.reader_watch import FORSAKEN, ReaderWatch
from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

_INTERVAL = 1.0
_MAX_ROWS = 500
# A row this young may simply be on its way to a worker.
_YOUNG = timedelta(seconds=2)
_MESSAGE_LOST = timedelta(seconds=10)
_OVERDUE = timedelta(seconds=10)
# A long batch must not hide the calls for which somebody waits.
_LIVE: PreparedQuery[tuple[uuid.UUID]] = PreparedQuery(
    lambda before: (
        InferenceJob.objects.live()
        .filter(created_at__lt=before)
        .order_by("-priority", "created_at")
        .values_list("pk")[:_MAX_ROWS]
    )
)
# Something is away: no job is to blame.
_PASSING = (redis.RedisError, OperationalError, InterfaceError, BrokerUnavailableError)


@dataclass(frozen=True, slots=True)
class _Found:
    """What Redis holds of a job: who runs it, why it shall end, whether somebody reads it."""

    lease: bytes | None
    cancel_mark: bytes | None
    is_read: bool


class Reaper:
    def __init__(self, client: SyncRedis) -> None:
        self._client = client
        self._readers = ReaderWatch()
        self._of_batches: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reaper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        keep_connections()
        while not self._stop.wait(_INTERVAL):
            try:
                self.sweep()
            except (redis.RedisError, Error, BrokerUnavailableError) as error:
                logger.warning("the reaper will try again: %s", error)
            finally:
                release_connections()

    def sweep(self) -> int:
        """One look at every live job; how many were taken over, rung for or ended.

        Raises RedisError, django.db.Error and BrokerUnavailableError; the next sweep goes on.
        """
        live = [pk for (pk,) in _LIVE.rows(timezone.now() - _YOUNG)]
        if not live:
            return 0
        keys = [JobKeys(str(pk)) for pk in live]
        leases = self._client.mget([key.lease for key in keys])
        alive = {(worker.name, worker.instance) for worker in live_workers(self._client)}
        left = {
            pk: lease
            for pk, lease in zip(live, leases, strict=True)
            if not (lease and _is_held(Holder.decode(lease), alive))
        }
        self._readers.keep_only([str(pk) for pk in left])
        try:
            return self._tend_all(left) if left else 0
        finally:
            self._ring_for_batches()

    def _tend_all(self, leases: dict[uuid.UUID, bytes | None]) -> int:
        """Those that nobody alive holds. A row that has ended since is none of them."""
        rows = list(
            InferenceJob.objects.live()
            .filter(pk__in=list(leases))
            .select_related("model", "batch_item", "line_job", "owner__role")
            .order_by("-priority", "created_at")
        )
        keys = [JobKeys(str(row.pk)) for row in rows]
        if not keys:
            return 0
        marks = self._client.mget([key.cancel for key in keys])
        signs = self._client.mget([key.reader for key in keys])
        found = [
            _Found(leases[row.pk], mark, sign is not None)
            for row, mark, sign in zip(rows, marks, signs, strict=True)
        ]
        return sum(map(self._tend_alone, rows, found))

    def _tend_alone(self, row: InferenceJob, found: _Found) -> bool:
        """A job that cannot be tended keeps nobody from those after it, and is ended."""
        try:
            return self._tend(row, found)
        except _PASSING:
            raise
        except Exception:
            logger.exception("job %s: cannot be tended", row.pk)
        event = ErrorEvent(ErrorCode.INTERNAL_ERROR, "The end of the job cannot be kept.")
        return bool(settle_jobs([settlement_of(str(row.pk), row.attempt, event)]))

    def _ring(self, row: InferenceJob, job: GenerationJob) -> None:
        """Those of batches wait for the end of the sweep: a worker takes their leases all at once.

        One message for each would keep most of them waiting without a lease, which looks like death.
        """
        if hasattr(row, "batch_item") or hasattr(row, "line_job"):
            self._of_batches.append(job.job_id)
        else:
            ring(job)

    def _ring_for_batches(self) -> None:
        while self._of_batches:
            chunk = self._of_batches[:MAX_CHUNK]
            del self._of_batches[:MAX_CHUNK]
            ring_many(chunk)

    def _tend(self, row: InferenceJob, found: _Found) -> bool:
        now = timezone.now()
        if ending := last_event(self._client, str(row.pk)):
            # Its worker told the caller, but could not reach the database.
            metrics.REAPER_ACTIONS.inc(action="settled")
            return bool(settle_jobs([settlement_of(str(row.pk), row.attempt, ending)]))
        if found.cancel_mark is not None:
            self._cancel(row, found.lease, found.cancel_mark.decode())
            return True
        if now > row.deadline_at + _OVERDUE:
            self._end(
                row, ErrorCode.DEADLINE_EXCEEDED, "The job did not end within its time limit."
            )
            return True
        if self._readers.is_forsaken(str(row.pk), row.reader_grace, is_read=found.is_read):
            self._cancel(row, found.lease, FORSAKEN)
            return True
        if found.lease or row.state == JobState.RUNNING:
            # Run again for a reader only: the whole stack may have been down, with its callers gone.
            is_wanted = row.reader_grace is None or found.is_read
            return is_wanted and self._take_over(row, found.lease)
        is_lost = now - row.created_at > _MESSAGE_LOST and queue_length() == 0
        if is_lost:
            logger.warning("job %s: its message was lost, ringing again", row.pk)
            metrics.REAPER_ACTIONS.inc(action="rung_again")
            self._ring(row, message_for(row, row.owner.role.slug))
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
        metrics.REAPER_ACTIONS.inc(action="taken_over")
        self._ring(row, job)
        return True

    def _cancel(self, row: InferenceJob, dead_lease: bytes | None, reason: str) -> None:
        logger.info("job %s: cancelled by the reaper: %s", row.pk, reason)
        metrics.REAPER_ACTIONS.inc(action="cancelled")
        if dead_lease:
            free(self._client, str(row.pk), dead_lease)
        cancel_left_job(str(row.pk), reason)

    def _end(self, row: InferenceJob, code: ErrorCode, message: str) -> None:
        event = ErrorEvent(code, message, published_usage(row))
        if end_job(self._client, row, event, attempt=row.attempt):
            logger.warning("job %s: ended by the reaper: %s", row.pk, code)
            metrics.REAPER_ACTIONS.inc(action="ended")
            self._client.delete(JobKeys(str(row.pk)).lease)


def _is_held(holder: Holder, alive: set[tuple[str, str]]) -> bool:
    """Whether somebody looks after the job: a worker that lives, or who ends it just now."""
    return holder.is_canceller or (holder.worker, holder.instance) in alive
