"""Percentiles of merged histograms are right, within a bound that is proven against real data."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.metrics.histograms import (
    LATENCY_BUCKETS,
    LATENCY_ERROR,
    difference,
    empty,
    limits_of,
    merge,
    observed,
    percentile,
    share_below,
)

latencies = st.lists(st.floats(0.0, 600.0), min_size=1, max_size=200)
shares = st.sampled_from([0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0])


def true_percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share * 100, method="inverted_cdf"))


def test_buckets_reach_from_a_millisecond_to_ten_minutes() -> None:
    assert LATENCY_BUCKETS[0] == 0.001
    assert LATENCY_BUCKETS[-1] == 600.0
    assert list(LATENCY_BUCKETS) == sorted(set(LATENCY_BUCKETS))
    pairs = itertools.pairwise(LATENCY_BUCKETS)
    assert max(high / low for low, high in pairs) <= LATENCY_ERROR + 1e-9


@given(latencies, shares)
def test_a_percentile_lies_in_the_bucket_of_the_true_one(values: list[float], share: float) -> None:
    histogram = observed(values, LATENCY_BUCKETS)
    true, found = true_percentile(values, share), percentile(histogram, share)
    limits = limits_of(histogram, share)
    assert found is not None and limits is not None
    low, high = limits
    assert low <= true <= high
    assert low <= found <= high
    if true > LATENCY_BUCKETS[0]:
        assert max(true / found, found / true) <= LATENCY_ERROR + 1e-9


@given(st.lists(latencies, min_size=1, max_size=5), shares)
def test_many_processes_give_the_percentile_of_one(parts: list[list[float]], share: float) -> None:
    merged = merge([observed(part, LATENCY_BUCKETS) for part in parts])
    together = observed([value for part in parts for value in part], LATENCY_BUCKETS)
    assert merged is not None
    assert merged.counts == together.counts
    assert merged.total == pytest.approx(together.total)
    assert percentile(merged, share) == percentile(together, share)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_of_many_values_the_usual_error_is_small(share: float) -> None:
    values = np.random.default_rng(7).lognormal(-1.0, 1.0, 20_000).tolist()
    found = percentile(observed(values, LATENCY_BUCKETS), share)
    assert found == pytest.approx(true_percentile(values, share), rel=0.05)


@given(latencies, latencies)
def test_what_lies_between_two_readings_is_what_came_between(
    first: list[float], second: list[float]
) -> None:
    earlier = observed(first, LATENCY_BUCKETS)
    later = observed(first + second, LATENCY_BUCKETS)
    between = difference(later, earlier)
    assert between.counts == observed(second, LATENCY_BUCKETS).counts
    assert between.total == pytest.approx(sum(second), abs=1e-6)


def test_after_a_reset_everything_is_new() -> None:
    earlier = observed([1.0, 2.0, 3.0], LATENCY_BUCKETS)
    later = observed([5.0], LATENCY_BUCKETS)
    assert difference(later, earlier) == later
    assert difference(later, None) == later


def test_nothing_has_no_percentile() -> None:
    nothing = empty(LATENCY_BUCKETS)
    assert percentile(nothing, 0.5) is None
    assert limits_of(nothing, 0.5) is None
    assert nothing.mean is None
    assert share_below(nothing, 1.0) is None
    assert merge([]) is None


def test_beyond_the_last_bound_only_the_bound_is_known() -> None:
    histogram = observed([5_000.0], LATENCY_BUCKETS)
    assert percentile(histogram, 0.5) == 600.0
    assert limits_of(histogram, 0.5) == (600.0, math.inf)


def test_buckets_of_two_versions_come_under_one_roof() -> None:
    merged = merge([observed([0.5, 1.5], (1.0, 2.0)), observed([1.2], (1.0, 1.5, 2.0))])
    assert merged is not None
    assert merged.bounds == (1.0, 1.5, 2.0)
    assert merged.counts == (1, 1, 1, 0)
    assert share_below(merged, 1.5) == pytest.approx(2 / 3)
