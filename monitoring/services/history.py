"""Writes of the history: samples as they come, and the end of those that are old."""

from __future__ import annotations

import time
from collections.abc import Iterable

from django.db import transaction
from django.db.models import QuerySet

from llamagpu.lib.config import LlamaConfig
from monitoring.configuration import current
from monitoring.history.details import pack_details
from monitoring.history.figures import pack
from monitoring.history.samples import RESOLUTIONS, Sample, bucket_of
from monitoring.models import MetricSample

_BATCH = 500
# Few enough that whoever waits for the database hardly notices.
_REMOVE_BATCH = 5000
# A clock that was ahead for a while has left rows in the future.
_FUTURE = 86_400


def write_samples(samples: Iterable[Sample], now: float | None = None) -> int:
    """Write them in one transaction; how many there were. Raises django.db.Error.

    A bucket that is there already is replaced: the same sample twice changes nothing, and after a clock
    was set back the later truth holds.
    """
    written_at = int(time.time() if now is None else now)
    rows = [
        MetricSample(
            node=sample.node,
            resolution=sample.resolution,
            start=sample.start,
            written_at=written_at,
            covered=round(sample.covered, 3),
            figures=pack(sample.figures),
            details=pack_details(sample.details),
        )
        for sample in samples
    ]
    if not rows:
        return 0
    with transaction.atomic():
        MetricSample.objects.bulk_create(
            rows,
            batch_size=_BATCH,
            update_conflicts=True,
            unique_fields=["resolution", "start", "node"],
            update_fields=["written_at", "covered", "figures", "details"],
        )
    return len(rows)


def kept_from(resolution: int, now: float, config: LlamaConfig | None = None) -> int:
    """The first bucket of a length that is kept, on the border of the buckets that are made of it."""
    config = config or current()
    seconds = {
        1: config.history_second_hours * 3600,
        60: config.history_minute_days * 86_400,
        300: config.history_minute_days * 86_400,
        900: config.history_quarter_days * 86_400,
        3600: config.history_hour_days * 86_400,
    }[resolution]
    return bucket_of(now - seconds, RESOLUTIONS[-1])


def remove_expired(now: float | None = None) -> int:
    """Remove what is older than the configuration keeps; how many rows. Raises django.db.Error."""
    now = time.time() if now is None else now
    removed = _remove(MetricSample.objects.filter(start__gt=int(now) + _FUTURE))
    for resolution in RESOLUTIONS:
        old = MetricSample.objects.filter(
            resolution=resolution, start__lt=kept_from(resolution, now)
        )
        removed += _remove(old)
    return removed


def _remove(rows: QuerySet[MetricSample]) -> int:
    removed = 0
    while True:
        ids = list(rows.order_by().values_list("pk", flat=True)[:_REMOVE_BATCH])
        MetricSample.objects.filter(pk__in=ids).delete()
        removed += len(ids)
        if len(ids) < _REMOVE_BATCH:
            return removed
