"""Writes of a batch's lines: taken up with their jobs, given a result, written in their order.

Each happens in one transaction with the counts of the batch that say how far it is. So whoever drives the
batch next, after whatever end of this process, goes on where the rows say: no line is taken up twice,
none is passed over, and the bytes at a place of a result file are always the same.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from accounts.job_claims import JobClaim
from accounts.services import quotas
from inference import file_store, metrics
from inference.models import BatchLine, FileBatch, InferenceJob, LineJob
from inference.services.submission import JobCall, new_row
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

# Bytes of results that are written, and held in memory, at once.
_MOST_AT_ONCE = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Result:
    """What will be written of a line, without its end of line."""

    text: str
    is_failed: bool


@dataclass(frozen=True, slots=True)
class NewLine:
    """A line to take up: `number` counts from 1, `end` is the offset behind its last byte.

    `work` are the calls of its jobs, or the result that stands already.
    """

    number: int
    offset: int
    end: int
    work: tuple[JobCall, ...] | Result


@dataclass(frozen=True, slots=True)
class Refused:
    """A line's jobs may not come in. `is_final`: waiting would not help."""

    error: AppError
    is_final: bool


@dataclass(slots=True)
class TakenUp:
    """What came of it: the jobs to ring for, the number of lines, and what keeps out the next one."""

    job_ids: list[str]
    num_lines: int = 0
    refused: Refused | None = None


def take_up(batch: FileBatch, lines: Sequence[NewLine]) -> TakenUp:
    """Write lines and their jobs with what they set aside, up to the first that may not come in.

    Nothing where the batch has moved on since it was read. Raises django.db.Error.
    """
    taken, claims = TakenUp([]), list[JobClaim]()
    try:
        with transaction.atomic():
            if not _is_as_read(batch):
                return taken
            rows: list[BatchLine] = []
            jobs: list[list[InferenceJob]] = []
            for line in lines:
                admitted = _admit(line, claims)
                if isinstance(admitted, Refused):
                    taken.refused = admitted
                    break
                jobs.append(admitted)
                rows.append(_row_of(batch, line, batch.num_fed + len(rows)))
            _write(batch, rows, jobs, lines)
    except Exception:
        for claim in claims:
            quotas.release_minute(claim)
        raise
    taken.job_ids = [str(job.pk) for of_line in jobs for job in of_line]
    taken.num_lines = len(rows)
    _count_lines(0, sum(row.is_failed for row in rows))
    return taken


def _is_as_read(batch: FileBatch) -> bool:
    """Locks the row: whoever cancels the batch waits, and then finds its jobs."""
    found = FileBatch.objects.select_for_update().filter(
        pk=batch.pk, state=batch.state, ending=batch.ending, input_offset=batch.input_offset
    )
    return bool(list(found.values("pk")))


def _admit(line: NewLine, claims: list[JobClaim]) -> list[InferenceJob] | Refused:
    """The rows of a line's jobs, their tokens set aside and noted in `claims`; all of them or none."""
    if isinstance(line.work, Result):
        return []
    counted: list[JobClaim] = []
    calls = line.work
    own = [
        JobClaim(uuid.uuid4(), call.owner, call.api_key, call.model.slug, call.most_tokens)
        for call in calls
    ]
    try:
        for claim in own:
            quotas.reserve_minute(claim)
            counted.append(claim)
        quotas.reserve_all(own)
    except AppError as error:
        for claim in counted:
            quotas.release_minute(claim)
        return Refused(error, _is_final(error, len(calls)))
    claims += own
    return [new_row(call, claim) for call, claim in zip(calls, own, strict=True)]


def _is_final(error: AppError, num_jobs: int) -> bool:
    """Whether a refusal will be the same however long the line waits.

    Rates and jobs at once pass. A quota passes only where jobs that run will give back enough of it:
    one that is used up for the day or the month is told, so that its owner hears of it now.
    """
    details = error.details if isinstance(error.details, dict) else {}
    limit, value = details.get("limit"), details.get("value", 0)
    if error.code is ErrorCode.QUOTA_EXCEEDED:
        return bool(details.get("used", 0) + details.get("asked", 0) > value)
    if limit == "tokens_per_minute":
        return bool(details.get("asked", 0) > value)
    return bool(limit == "concurrent_jobs" and num_jobs > value)


def _row_of(batch: FileBatch, line: NewLine, position: int) -> BatchLine:
    row = BatchLine(batch=batch, position=position, offset=line.offset)
    if isinstance(line.work, Result):
        row.result, row.is_failed = line.work.text, line.work.is_failed
    else:
        row.num_jobs = len(line.work)
    return row


def _write(
    batch: FileBatch,
    rows: Sequence[BatchLine],
    jobs: Sequence[Sequence[InferenceJob]],
    lines: Sequence[NewLine],
) -> None:
    if not rows:
        return
    BatchLine.objects.bulk_create(rows)
    InferenceJob.objects.bulk_create(job for of_line in jobs for job in of_line)
    LineJob.objects.bulk_create(
        LineJob(line=row, place=place, job=job)
        for row, of_line in zip(rows, jobs, strict=True)
        for place, job in enumerate(of_line)
    )
    last = lines[len(rows) - 1]
    FileBatch.objects.filter(pk=batch.pk).update(
        input_offset=last.end,
        input_line=last.number,
        num_fed=F("num_fed") + len(rows),
        num_failed=F("num_failed") + sum(row.is_failed for row in rows),
    )


def keep_results(batch: FileBatch, results: Sequence[tuple[int, Result]]) -> None:
    """Note what lines (by their rows' keys) came to; one that has a result keeps it."""
    with transaction.atomic():
        num_done = num_failed = 0
        for line_id, result in results:
            changed = BatchLine.objects.filter(pk=line_id, result="").update(
                result=result.text, is_failed=result.is_failed
            )
            num_failed += changed * result.is_failed
            num_done += changed * (not result.is_failed)
        FileBatch.objects.filter(pk=batch.pk).update(
            num_completed=F("num_completed") + num_done, num_failed=F("num_failed") + num_failed
        )
    _count_lines(num_done, num_failed)


def _count_lines(num_done: int, num_failed: int) -> None:
    metrics.BATCH_LINES.inc(num_done, outcome="completed")
    metrics.BATCH_LINES.inc(num_failed, outcome="failed")


def write_results(batch: FileBatch) -> int:
    """Append the results that are next in order to the files to be, and drop their rows; how many.

    Raises OSError, with nothing noted: the same bytes are written again at the same place.
    """
    num_ready, good, bad = _next_results(batch)
    if not num_ready:
        return 0
    for kind, offset, text in (
        ("output", batch.output_bytes, good),
        ("errors", batch.error_bytes, bad),
    ):
        if text:
            file_store.write_at(file_store.partial_path(batch.pk, kind), offset, text)
    end = batch.num_written + num_ready
    with transaction.atomic():
        changed = FileBatch.objects.filter(pk=batch.pk, num_written=batch.num_written).update(
            num_written=end,
            output_bytes=batch.output_bytes + len(good),
            error_bytes=batch.error_bytes + len(bad),
        )
        if changed:
            batch.lines.filter(position__lt=end).delete()
    batch.refresh_from_db()
    return num_ready if changed else 0


def _next_results(batch: FileBatch) -> tuple[int, bytes, bytes]:
    """How many lines in a row have a result, up to some megabytes of text; those of both files."""
    good, bad, position = bytearray(), bytearray(), batch.num_written
    rows = batch.lines.filter(position__gte=position).order_by("position")
    for place, text, is_failed in rows.values_list("position", "result", "is_failed").iterator(200):
        if place != position or not text or len(good) + len(bad) > _MOST_AT_ONCE:
            break
        (bad if is_failed else good).extend(f"{text}\n".encode())
        position += 1
    return position - batch.num_written, bytes(good), bytes(bad)
