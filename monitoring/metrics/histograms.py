"""Histograms as values: adding up, what lies between two readings, percentiles. Pure.

Percentiles of several processes cannot be averaged, but counts of buckets add up. A percentile found
here lies in the same bucket as the true one (nearest rank), so with `LATENCY_BUCKETS` both are within a
factor of `LATENCY_ERROR` of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

# The preferred numbers of the E6 series: each about 1.47 times the one before, and short to read.
_STEPS = (1.0, 1.5, 2.2, 3.3, 4.7, 6.8)


def _spaced(first_decade: int, last_decade: int) -> tuple[float, ...]:
    decades = range(first_decade, last_decade)
    bounds = [float(f"{step}e{decade}") for decade in decades for step in _STEPS]
    return (*bounds, float(f"1e{last_decade}"))


#: Seconds, from a millisecond to ten minutes.
LATENCY_BUCKETS = (*_spaced(-3, 2), 150.0, 220.0, 330.0, 470.0, 600.0)
#: Tokens of a prompt or an answer.
LENGTH_BUCKETS = _spaced(0, 6)
#: The largest distance between neighbours of `LATENCY_BUCKETS` above a millisecond.
LATENCY_ERROR = 1.5


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """`counts[i]` values were at most `bounds[i]` and above the bound before; the last count is beyond."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


def empty(bounds: Sequence[float]) -> HistogramValue:
    return HistogramValue(tuple(bounds), (0,) * (len(bounds) + 1), 0.0)


def observed(values: Iterable[float], bounds: Sequence[float]) -> HistogramValue:
    """The histogram of `values`."""
    counts = [0] * (len(bounds) + 1)
    total = 0.0
    for value in values:
        index = next((i for i, bound in enumerate(bounds) if value <= bound), len(bounds))
        counts[index] += 1
        total += value
    return HistogramValue(tuple(bounds), tuple(counts), total)


def merge(values: Iterable[HistogramValue]) -> HistogramValue | None:
    """All together, None for none. Other bounds, of another version, are brought under one roof."""
    merged: HistogramValue | None = None
    for value in values:
        merged = value if merged is None else _add(merged, value, 1)
    return merged


def difference(later: HistogramValue, earlier: HistogramValue | None) -> HistogramValue:
    """What came between two readings. After a reset, when Redis lost its data, all of `later`."""
    if earlier is None:
        return later
    between = _add(later, earlier, -1)
    return later if min(between.counts) < 0 else between


def percentile(value: HistogramValue, share: float) -> float | None:
    """The value that `share` (0 to 1) of all are at most; None where there are none.

    Inside a bucket values are taken as evenly spread on a logarithmic scale. Beyond the last bound
    nothing is known but the bound.
    """
    place = _place(value, share)
    if place is None:
        return None
    index, fraction = place
    if index == len(value.bounds):
        return value.bounds[-1]
    low, high = _edges(value.bounds, index)
    if low <= 0:
        return low + (high - low) * fraction
    return float(low * (high / low) ** fraction)


def limits_of(value: HistogramValue, share: float) -> tuple[float, float] | None:
    """Between which values the true percentile surely lies."""
    place = _place(value, share)
    return None if place is None else _edges(value.bounds, place[0])


def share_below(value: HistogramValue, bound: float) -> float | None:
    """Which part was at most `bound`, which must be one of the bounds."""
    index = value.bounds.index(bound)
    return sum(value.counts[: index + 1]) / value.count if value.count else None


def _place(value: HistogramValue, share: float) -> tuple[int, float] | None:
    """The bucket of a percentile, and how far into its values."""
    rank = max(1, math.ceil(share * value.count))
    before = 0
    for index, count in enumerate(value.counts):
        if before + count >= rank:
            return index, (rank - before - 0.5) / count
        before += count
    return None  # there are no values


def _edges(bounds: Sequence[float], index: int) -> tuple[float, float]:
    low = bounds[index - 1] if index else 0.0
    return low, bounds[index] if index < len(bounds) else math.inf


def _add(one: HistogramValue, other: HistogramValue, sign: int) -> HistogramValue:
    if one.bounds != other.bounds:
        bounds = tuple(sorted({*one.bounds, *other.bounds}))
        one, other = _on(bounds, one), _on(bounds, other)
    counts = tuple(a + sign * b for a, b in zip(one.counts, other.counts, strict=True))
    return HistogramValue(one.bounds, counts, one.total + sign * other.total)


def _on(bounds: tuple[float, ...], value: HistogramValue) -> HistogramValue:
    """The same counts in finer buckets: each stays under its own bound."""
    counts = dict(zip(value.bounds, value.counts, strict=False))
    return HistogramValue(
        bounds, (*(counts.get(bound, 0) for bound in bounds), value.counts[-1]), value.total
    )
