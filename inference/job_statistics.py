"""How the jobs of the last hour ended and what their callers waited for, as the status tells it.

It comes from the history that monitors keep, whose size does not depend on the number of jobs: a minute
of a busy installation is one row there. What no monitor has watched is missing, and `covered` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.states import JobState
from llamagpu.lib.error_codes import ErrorCode
from monitoring.history.details import MODEL_SUMS, Details
from monitoring.history.figures import PERCENTILES
from monitoring.history.total import read_total
from monitoring.metrics.histograms import HistogramValue, percentile
from monitoring.models import MetricSample
from monitoring.snapshot import register_section

_WINDOW = 3600
_SHOWN = ("latency", "ttft", "queue_time")


def register() -> None:
    register_section("statistics", statistics_section)


def statistics_section() -> dict[str, Any]:
    """Percentiles are null where there was nothing. Raises DatabaseError."""
    total = read_total(MetricSample.objects.all(), _WINDOW)
    details = total.details if total is not None else Details()
    histograms = details.histograms()
    return {
        "window": float(_WINDOW),
        "covered": total.covered if total is not None else 0.0,
        "jobs": _ended(details, histograms),
        **{name: _spread(histograms.get(name)) for name in _SHOWN},
    }


def _ended(details: Details, histograms: Mapping[str, HistogramValue]) -> dict[str, int]:
    """Jobs by the state in which they ended."""
    ended, failed = (
        sum(model.sums[MODEL_SUMS.index(name)] for model in details.models.values())
        for name in ("requests", "errors")
    )
    latency = histograms.get("latency")
    succeeded = latency.count if latency is not None else 0
    expired = details.errors.get(ErrorCode.DEADLINE_EXCEEDED.value, 0.0)
    return {
        JobState.SUCCEEDED.value: succeeded,
        JobState.FAILED.value: round(failed - expired),
        JobState.EXPIRED.value: round(expired),
        # What a caller has cancelled has ended, and is no error.
        JobState.CANCELLED.value: max(0, round(ended - failed) - succeeded),
    }


def _spread(value: HistogramValue | None) -> dict[str, float | int | None]:
    return {
        "count": value.count if value is not None else 0,
        **{
            label: percentile(value, share) if value is not None else None
            for label, share in PERCENTILES.items()
        },
    }
