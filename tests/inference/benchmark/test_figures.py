from __future__ import annotations

import pytest

from inference.benchmark.figures import IncompleteRunError, Trace, spread, summarize
from inference.benchmark.workloads import concurrent, prefill


def test_speed_counts_the_new_tokens_over_the_whole_run() -> None:
    traces = [
        Trace(0.0, ((0.5, 1), (0.7, 1), (1.0, 1))),
        Trace(0.5, ((1.0, 1), (1.5, 1), (2.0, 1))),
    ]
    figures = summarize(traces, prompt_tokens=100, new_tokens=3)
    assert figures.wall == 2.0
    assert figures.tokens_per_second == 3.0
    assert figures.ttft_p50 == 0.5
    assert figures.prompt_tokens_per_second == 200.0


def test_gaps_are_the_times_between_arrivals_however_many_tokens_come_in_one() -> None:
    figures = summarize([Trace(0.0, ((1.0, 1), (1.1, 3), (1.5, 1)))], prompt_tokens=1, new_tokens=5)
    assert figures.gap_p50 == pytest.approx(0.1)
    assert figures.gap_p99 == pytest.approx(0.4)


def test_pieces_of_one_step_are_one_arrival() -> None:
    trace = Trace(0.0, ((1.0, 1), (1.1, 1), (1.1001, 1), (1.1002, 1), (1.2, 1)))
    figures = summarize([trace], prompt_tokens=1, new_tokens=5)
    assert figures.gap_p50 == pytest.approx(0.1, abs=0.001)


def test_a_single_token_has_no_gap() -> None:
    figures = summarize([Trace(0.0, ((1.0, 1),))], prompt_tokens=10, new_tokens=1)
    assert (figures.gap_p50, figures.gap_p99) == (None, None)


@pytest.mark.parametrize("arrivals", [(), ((1.0, 2),), ((1.0, 4),)])
def test_a_run_with_too_few_or_too_many_tokens_gives_no_figures(
    arrivals: tuple[tuple[float, int], ...],
) -> None:
    whole = Trace(0.0, ((1.0, 3),))
    with pytest.raises(IncompleteRunError, match="3 were asked for"):
        summarize([whole, Trace(0.0, arrivals)], prompt_tokens=1, new_tokens=3)


def test_a_run_without_requests_gives_no_figures() -> None:
    with pytest.raises(IncompleteRunError):
        summarize([], prompt_tokens=1, new_tokens=1)


def test_a_spread_is_the_median_and_the_extremes() -> None:
    found = spread([3.0, 1.0, 2.0, 10.0])
    assert (found.median, found.low, found.high, found.count) == (2.5, 1.0, 10.0, 4)


def test_a_single_caller_asks_several_times_and_many_callers_once_each() -> None:
    assert (concurrent(1).num_requests, concurrent(1).concurrency) == (4, 1)
    assert (concurrent(8).num_requests, concurrent(8).concurrency) == (8, 8)
    assert prefill().new_tokens == 1
