"""Takes up lines of a batch: as many as there is room for beside other calls and other batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

from django.utils import timezone
from rest_framework.exceptions import ValidationError

from inference.batch_room import model_width
from inference.dispatch import BrokerUnavailableError, ring_many
from inference.file_store import path_of
from inference.models import FileBatch, InferenceJob
from inference.openai_api.batch_calls import PASSING, failed, job_calls, unanswered
from inference.openai_api.batch_input import Line, RawLine, parse_line, raw_lines
from inference.presence import EngineReport, WorkerReport
from inference.services.batch_lines import NewLine, Result, take_up
from inference.services.submission import JobCall
from inference.states import FileBatchState
from llamagpu.http.errors import AppError, internal_error

logger = logging.getLogger(__name__)

#: Lines that are read at once, and those that get no answer any more, which cost less.
_AT_ONCE, _ENDED_AT_ONCE = 64, 1000
_SHORTEST_WAIT, _LONGEST_WAIT = 0.5, 5.0


class Feeder:
    """What one driver remembers between two looks: until when a limit keeps lines out."""

    def __init__(self) -> None:
        self._wait_until = 0.0

    def feed(self, batch: FileBatch, workers: Sequence[WorkerReport]) -> int:
        """Take up what there is room for; how many lines. Raises django.db.Error and OSError."""
        if batch.ending:
            return self._take(batch, self._read(batch, _ENDED_AT_ONCE, workers), ())
        if time.monotonic() < self._wait_until:
            return 0
        room = _room_of(batch, workers)
        return self._take(batch, self._read(batch, room, workers), workers) if room else 0

    def _read(
        self, batch: FileBatch, number: int, workers: Sequence[WorkerReport]
    ) -> list[tuple[Line, NewLine]]:
        path = path_of(batch.input_file_id)
        raw = raw_lines(path, offset=batch.input_offset, number=batch.input_line)
        engines = [engine for worker in workers for engine in worker.engines]
        seconds_left = max(1.0, (batch.expires_at - timezone.now()).total_seconds())
        numbered = enumerate(islice(raw, number), batch.num_fed + 1)
        return [_new_line(batch, place, item, engines, seconds_left) for place, item in numbered]

    def _take(
        self,
        batch: FileBatch,
        lines: Sequence[tuple[Line, NewLine]],
        workers: Sequence[WorkerReport],
    ) -> int:
        taken = take_up(batch, [new for _, new in lines])
        _ring(taken.job_ids)
        if taken.refused is None:
            return taken.num_lines
        if not taken.refused.is_final:
            wait = taken.refused.error.retry_after or 1
            self._wait_until = time.monotonic() + min(max(wait, _SHORTEST_WAIT), _LONGEST_WAIT)
            return taken.num_lines
        batch.refresh_from_db()
        line, new = lines[taken.num_lines]
        result = failed(batch, line, taken.refused.error)
        lone = NewLine(new.number, new.offset, new.end, result)
        return taken.num_lines + take_up(batch, [lone]).num_lines


def _new_line(
    batch: FileBatch,
    place: int,
    raw: RawLine,
    engines: Sequence[EngineReport],
    seconds_left: float,
) -> tuple[Line, NewLine]:
    line = parse_line(replace(raw, number=place), batch.endpoint)
    work: tuple[JobCall, ...] | Result
    if batch.ending:
        work = unanswered(batch, line)
    else:
        try:
            work = job_calls(batch, line, engines, seconds_left)
        except (AppError, ValidationError) as error:
            work = failed(batch, line, error)
        except PASSING:
            raise
        except Exception:  # one line must not keep all others from their answers
            logger.exception("%s: line %d cannot be read", batch, place)
            work = failed(batch, line, internal_error())
    return line, NewLine(raw.number, raw.offset, raw.end, work)


def _room_of(batch: FileBatch, workers: Sequence[WorkerReport]) -> int:
    """Lines that may come in now: a batch's share of what batches may have, and some in reserve.

    The reserve keeps the engines busy between two looks of the driver.
    """
    slug = _next_model(batch)
    live = InferenceJob.objects.live().filter(model__slug=slug)
    num_others = live.filter(priority__gte=0).count()
    num_batch_jobs = live.filter(priority__lt=0).count()
    width = model_width(workers, slug, num_others=num_others, num_batch_jobs=num_batch_jobs)
    if not width:
        return 0
    rivals = FileBatch.objects.filter(state=FileBatchState.IN_PROGRESS).count()
    share = max(1, width // max(1, rivals))
    own = batch.lines.filter(result="").count()
    return max(0, min(_AT_ONCE, share + share // 2 - own))


def _next_model(batch: FileBatch) -> str:
    """What the next line asks for; lines of one file mostly ask for the same. Raises OSError."""
    path = path_of(batch.input_file_id)
    raw = next(raw_lines(path, offset=batch.input_offset, number=batch.input_line))
    return str(parse_line(raw, batch.endpoint).body.get("model", ""))[:128]


def _ring(job_ids: Sequence[str]) -> None:
    """What cannot be rung for is found by the reaper."""
    try:
        if job_ids:
            ring_many(job_ids)
    except BrokerUnavailableError as error:
        logger.warning("lines of a batch wait for a message: %s", error)
