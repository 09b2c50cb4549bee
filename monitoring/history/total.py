"""All that was served within the last while, as one sample: at most as many rows as there are minutes."""

from __future__ import annotations

import time

from monitoring.history.query import Span, recent_samples
from monitoring.history.samples import CLUSTER, Sample, bucket_of, merge_samples
from monitoring.metric_querysets import MetricSampleQuerySet

_STEP = 60


def read_total(rows: MetricSampleQuerySet, seconds: int, now: float | None = None) -> Sample | None:
    """Of the installation as a whole, in whole minutes up to now; None where nothing was watched."""
    end = bucket_of(time.time() if now is None else now, _STEP) + _STEP
    start = end - seconds
    samples = recent_samples(rows.filter(node=CLUSTER), Span(start, end, _STEP))
    return merge_samples(samples, seconds, start) if samples else None
