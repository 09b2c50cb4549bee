"""Roll-ups: seconds become minutes, minutes become longer buckets, each from the rows below it.

Nothing is remembered between two runs: what is new is found by when it was written. So a run can be
repeated, a leader can stop in the middle, and samples that come late are taken in.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable

from django.db.models import Max

from monitoring.history.details import pack_details
from monitoring.history.figures import pack
from monitoring.history.rows import read_samples
from monitoring.history.samples import RESOLUTIONS, Sample, bucket_of, gather
from monitoring.models import MetricSample
from monitoring.services.history import kept_from, write_samples

#: Seconds after a bucket's end until it is rolled up: samples are written some seconds late.
GRACE = 10
# Rows that were written while their bucket was still open must be seen again.
_LOOK_BACK = 120


def roll_up(now: float | None = None) -> int:
    """Bring all levels up to date; how many rows were written. Raises django.db.Error."""
    now = time.time() if now is None else now
    written = 0
    for finer, coarser in itertools.pairwise(RESOLUTIONS):
        for bucket in _changed_buckets(finer, coarser, now):
            written += _roll_one(finer, coarser, bucket, now)
    return written


def _changed_buckets(finer: int, coarser: int, now: float) -> list[int]:
    """Ended buckets of which something was written lately, and of which all rows are still there."""
    newest = MetricSample.objects.filter(resolution=coarser).aggregate(newest=Max("written_at"))
    # Not beyond now: a clock that was ahead must not stop us until its time has come.
    since = min(newest["newest"] or 0, int(now)) - 2 * coarser - _LOOK_BACK
    starts = MetricSample.objects.written_since(finer, since).values_list("start", flat=True)
    buckets = {bucket_of(start, coarser) for start in starts.order_by().distinct()}
    first = kept_from(finer, now)
    return sorted(b for b in buckets if b >= first and b + coarser + GRACE <= now)


def _roll_one(finer: int, coarser: int, bucket: int, now: float) -> int:
    end = bucket + coarser
    merged = gather(read_samples(MetricSample.objects.between(finer, bucket, end)), coarser)
    there = _packed(read_samples(MetricSample.objects.between(coarser, bucket, bucket + 1)))
    return write_samples((s for s in merged if there.get(s.node) != _essence(s)), now)


def _packed(samples: Iterable[Sample]) -> dict[str, tuple[object, ...]]:
    return {sample.node: _essence(sample) for sample in samples}


def _essence(sample: Sample) -> tuple[object, ...]:
    """What makes two rows the same: as they are packed, for NaN equals nothing."""
    return round(sample.covered, 3), pack(sample.figures), pack_details(sample.details)
