"""Percentiles of a sample, by the nearest-rank method: every figure is a value that occurred."""

from __future__ import annotations

import math
from collections.abc import Sequence


def percentiles(values: Sequence[float]) -> dict[str, float | int | None]:
    """`{count, p50, p95, p99}`; the percentiles of an empty sample are None."""
    ordered = sorted(values)
    return {
        "count": len(ordered),
        "p50": _nearest_rank(ordered, 0.50),
        "p95": _nearest_rank(ordered, 0.95),
        "p99": _nearest_rank(ordered, 0.99),
    }


def _nearest_rank(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
