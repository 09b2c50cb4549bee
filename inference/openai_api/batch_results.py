"""What the jobs of a batch's lines came to, kept as the lines that will be written."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence

from inference.file_store import path_of
from inference.models import BatchLine, FileBatch, InferenceJob, LineJob
from inference.openai_api.batch_calls import PASSING, failed, result_of
from inference.openai_api.batch_input import Line, RawLine, line_at, parse_line
from inference.presence import EngineReport
from inference.services.batch_lines import Result, keep_results
from inference.states import JobState
from llamagpu.http.errors import AppError, internal_error
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

# Lines whose results are made in one go.
_AT_ONCE = 64


def collect_results(batch: FileBatch, engines: Sequence[EngineReport]) -> int:
    """Keep the results of lines whose jobs have all ended; how many.

    Raises django.db.Error and OSError.
    """
    lines = _ended_lines(batch)
    if not lines:
        return 0
    jobs = _jobs_of(lines)
    results = [(line.pk, _result(batch, line, jobs[line.pk], engines)) for line in lines]
    keep_results(batch, results)
    return len(results)


def _ended_lines(batch: FileBatch) -> list[BatchLine]:
    rows = list(batch.lines.filter(result="").order_by("position"))
    states: dict[int, list[str]] = defaultdict(list)
    pairs = LineJob.objects.filter(line__in=[row.pk for row in rows]).order_by()
    for line_id, state in pairs.values_list("line_id", "job__state"):
        states[line_id].append(state)
    ended = [row for row in rows if all(JobState(state).is_final for state in states[row.pk])]
    return ended[:_AT_ONCE]


def _jobs_of(lines: Sequence[BatchLine]) -> dict[int, list[InferenceJob]]:
    """By line, in their order."""
    jobs: dict[int, list[InferenceJob]] = defaultdict(list)
    links = LineJob.objects.filter(line__in=[line.pk for line in lines])
    for link in links.select_related("job__model").order_by("line_id", "place"):
        jobs[link.line_id].append(link.job)
    return jobs


def _result(
    batch: FileBatch, row: BatchLine, jobs: Sequence[InferenceJob], engines: Sequence[EngineReport]
) -> Result:
    line = _line_of(batch, row)
    if len(jobs) != row.num_jobs:
        error = AppError(ErrorCode.INFERENCE_FAILED, "A job of this line was removed.")
        return failed(batch, line, error)
    try:
        return result_of(batch, line, jobs, engines)
    except PASSING:
        raise
    except Exception:  # one line must not keep all others from their answers
        logger.exception("%s: line %d has no result", batch, line.number)
        return failed(batch, line, internal_error())


def _line_of(batch: FileBatch, row: BatchLine) -> Line:
    text = line_at(path_of(batch.input_file_id), row.offset)
    raw = RawLine(row.position + 1, row.offset, row.offset + len(text), text)
    return parse_line(raw, batch.endpoint)
