"""Drives batches of files: checks the input, keeps some of its lines running, writes what they come to.

A driver keeps nothing that the rows do not hold. It works for some seconds under a lease and rings for the
next spell, in whichever worker; one that is killed is followed by another that goes on from the rows.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid

from django.utils import timezone

from accounts.rights_watch import Holder, find_losses
from inference.admission import find_workers
from inference.batch_bell import BatchLease
from inference.file_store import path_of
from inference.models import FileBatch
from inference.openai_api.batch_feeding import Feeder
from inference.openai_api.batch_input import check_input
from inference.openai_api.batch_results import collect_results
from inference.presence import WorkerReport
from inference.services.batch_lines import write_results
from inference.services.file_batches import (
    complete_batch,
    end_early,
    enter_state,
    fail_batch,
)
from inference.states import FileBatchState
from llamagpu.http.permissions import INFER_BATCH
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

# Without news, seconds until the next look, which grow; and between two looks at rights and workers.
_FIRST_PAUSE, _LONGEST_PAUSE, _PAUSE_GROWTH = 0.05, 0.4, 1.5
_LOOK_INTERVAL = 1.0


class SpellOver(Exception):
    """Somebody else drives the batch now, or this process is about to end."""


class BatchDriver:
    """One spell with one batch."""

    def __init__(self, client: SyncRedis, batch_id: uuid.UUID, stop: threading.Event) -> None:
        self._client = client
        self._batch_id = batch_id
        self._stop = stop
        self._lease = BatchLease(client, batch_id)
        self._feeder = Feeder()
        self._looked_at = float("-inf")
        self._workers: list[WorkerReport] = []

    def drive(self, seconds: float) -> bool:
        """Work for so long; True where there is more to do and nobody else does it.

        Raises RedisError, django.db.Error and OSError: the rows hold, the next spell goes on.
        """
        until, pause = time.monotonic() + seconds, _FIRST_PAUSE
        if not self._lease.take():
            return False
        try:
            while time.monotonic() < until:
                self._show_life()
                batch = self._read()
                if batch is None or FileBatchState(batch.state).is_final:
                    return False
                if self._step(batch):
                    pause = _FIRST_PAUSE
                else:
                    self._stop.wait(pause)
                    pause = min(_LONGEST_PAUSE, pause * _PAUSE_GROWTH)
            return True
        except SpellOver:
            return False
        finally:
            self._lease.release()

    def _show_life(self) -> None:
        """Raises SpellOver."""
        if self._stop.is_set() or not self._lease.renew():
            raise SpellOver

    def _read(self) -> FileBatch | None:
        rows = FileBatch.objects.select_related("owner__role", "api_key")
        return rows.filter(pk=self._batch_id).first()

    def _step(self, batch: FileBatch) -> bool:
        """One look at everything; whether anything moved."""
        match FileBatchState(batch.state):
            case FileBatchState.VALIDATING:
                return self._check(batch)
            case FileBatchState.FINALIZING:
                return complete_batch(batch)
        return self._advance(batch)

    def _check(self, batch: FileBatch) -> bool:
        try:
            path = path_of(batch.input_file_id)
            num_lines, problems = check_input(path, batch.endpoint, self._show_life)
        except FileNotFoundError:
            fail_batch(batch, [_problem("file_not_found", "The input file is not there any more.")])
            return True
        if problems:
            fail_batch(batch, problems)
            return True
        return enter_state(batch, FileBatchState.IN_PROGRESS, num_lines=num_lines)

    def _advance(self, batch: FileBatch) -> bool:
        """In progress or being cancelled: results in, results out, lines in."""
        self._look_around(batch)
        engines = [engine for worker in self._workers for engine in worker.engines]
        moved = collect_results(batch, engines)
        moved += write_results(batch)
        if batch.num_written >= batch.num_lines:
            return self._end(batch)
        if batch.num_fed < batch.num_lines:
            moved += self._feeder.feed(batch, self._workers)
        return moved > 0

    def _end(self, batch: FileBatch) -> bool:
        """Every line is written."""
        if batch.state == FileBatchState.CANCELLING:
            return complete_batch(batch)
        return enter_state(batch, FileBatchState.FINALIZING) and complete_batch(batch)

    def _look_around(self, batch: FileBatch) -> None:
        """Who lives, whether the time is over, whether the owner may still do this."""
        if time.monotonic() - self._looked_at < _LOOK_INTERVAL:
            return
        self._looked_at = time.monotonic()
        self._workers = find_workers()
        if batch.ending:
            return
        if timezone.now() >= batch.expires_at:
            end_early(batch, FileBatchState.EXPIRED, None)
        elif reason := lost_right(batch):
            end_early(batch, FileBatchState.FAILED, reason)


def lost_right(batch: FileBatch) -> dict[str, object] | None:
    """Why the batch must not go on: its owner or its key may not do this any more. Three queries."""
    if batch.is_by_key and batch.api_key_id is None:
        return _problem("permission_denied", "The API key was deleted.")
    # A session may end meanwhile: the batch is asked for, and nobody sits and waits.
    holder = Holder(batch.owner_id, INFER_BATCH, batch.api_key_id, batch.owner.session_epoch)
    loss = find_losses([holder]).get(holder)
    return _problem("permission_denied", loss.message) if loss else None


def give_up(batch: FileBatch) -> None:
    """Nobody comes to an end with this batch: it fails, with what it has. Raises django.db.Error."""
    problem = _problem(str(ErrorCode.INTERNAL_ERROR).lower(), "The batch could not be processed.")
    if batch.state == FileBatchState.VALIDATING:
        fail_batch(batch, [problem])
    elif batch.state == FileBatchState.IN_PROGRESS:
        end_early(batch, FileBatchState.FAILED, problem)


def _problem(code: str, message: str) -> dict[str, object]:
    return {"code": code, "message": message, "param": None, "line": None}
