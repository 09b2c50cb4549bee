"""Delays between restarts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamagpu.lib.backoff import Backoff


def without_jitter(low: float, high: float) -> float:
    return (low + high) / 2


def test_delays_double_up_to_the_longest() -> None:
    backoff = Backoff(first=1, longest=5, uniform=without_jitter)
    assert [backoff.next_delay(0) for _ in range(5)] == [1, 2, 4, 5, 5]


def test_a_stable_run_starts_afresh() -> None:
    backoff = Backoff(first=1, longest=60, stable_after=30, uniform=without_jitter)
    assert [backoff.next_delay(ran) for ran in (0, 29.9, 30, 0)] == [1, 2, 1, 2]


@given(runs=st.lists(st.floats(0, 1000), max_size=200))
def test_no_history_leads_out_of_the_bounds(runs: list[float]) -> None:
    backoff = Backoff(first=0.5, longest=30, jitter=0.2)
    for ran_for in runs:
        assert 0.4 <= backoff.next_delay(ran_for) <= 36


def test_jitter_stays_within_its_share() -> None:
    bounds: list[tuple[float, float]] = []

    def record(low: float, high: float) -> float:
        bounds.append((low, high))
        return high

    assert Backoff(first=10, jitter=0.2, uniform=record).next_delay(0) == pytest.approx(12)
    assert bounds == [pytest.approx((0.8, 1.2))]
