"""Packing and merging: nothing is lost, nothing is made up, percentiles come from merged histograms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.history.details import (
    KNOWN_BOUNDS,
    MAX_MODELS,
    OTHERS,
    Details,
    ModelDetails,
    bounded,
    pack_details,
    unpack_details,
)
from monitoring.history.figures import (
    CLUSTER_FIGURES,
    NAN,
    NODE_FIGURES,
    Merge,
    listed,
    merge_figures,
    pack,
    place_of,
    unpack,
)
from monitoring.history.samples import RESOLUTIONS, bucket_of, gather, merge_samples
from monitoring.metrics.histograms import LATENCY_ERROR, HistogramValue, observed
from tests.monitoring.history.samples import T0, cluster_at, figure, node_at

# In this order they stand in every row that was ever written: names may only be added at the end.
FIRST_NODE_FIGURES = ("cpu_usage", "cpu_usage_max", "load", "memory_usage", "memory_usage_max")
FIRST_CLUSTER_FIGURES = ("requests", "errors", "prompt_tokens", "generation_tokens")


def test_the_order_of_figures_is_for_ever() -> None:
    assert tuple(figure.name for figure in NODE_FIGURES)[:5] == FIRST_NODE_FIGURES
    assert place_of(NODE_FIGURES)["gpu_usage"] == 13
    assert place_of(NODE_FIGURES)["monitor_rss"] == 32
    assert tuple(figure.name for figure in CLUSTER_FIGURES)[:4] == FIRST_CLUSTER_FIGURES
    assert place_of(CLUSTER_FIGURES)["workers"] == 12
    assert place_of(CLUSTER_FIGURES)["queue_time_p99"] == 29


def test_the_numbered_bounds_are_for_ever() -> None:
    assert len(KNOWN_BOUNDS[1]) == 36
    assert (KNOWN_BOUNDS[1][0], KNOWN_BOUNDS[1][-1]) == (0.001, 600.0)
    assert sum(KNOWN_BOUNDS[1]) == pytest.approx(2086.6645, abs=0.0001)


def test_figures_come_back_as_they_were() -> None:
    row = listed(NODE_FIGURES, {"cpu_usage": 12.5, "memory_used": 2**45 + 1, "gpu_usage": None})
    back = unpack(pack(row))
    assert back[0] == 12.5
    assert back[place_of(NODE_FIGURES)["memory_used"]] == 2**45 + 1
    assert math.isnan(back[place_of(NODE_FIGURES)["gpu_usage"]])


def test_an_older_and_shorter_row_merges_with_a_newer_one() -> None:
    merged = merge_figures(NODE_FIGURES, [[10.0], listed(NODE_FIGURES, {"load": 3.0})], [1, 1])
    assert (merged[0], merged[2]) == (10.0, 3.0)


def test_a_mean_is_weighted_by_what_was_watched_and_skips_what_was_not_measured() -> None:
    rows = [listed(NODE_FIGURES, {"cpu_usage": value}) for value in (10.0, None, 40.0)]
    merged = merge_figures(NODE_FIGURES, rows, [1, 7, 2])
    assert merged[0] == 30.0
    assert math.isnan(merged[1])


def test_peaks_sums_and_the_fewest_workers() -> None:
    merge = {figure.name: figure.merge for figure in (*NODE_FIGURES, *CLUSTER_FIGURES)}
    assert merge["cpu_usage_max"] is Merge.MAX
    assert merge["requests"] is Merge.SUM
    assert merge["workers"] is Merge.MIN
    assert merge["latency_p95"] is Merge.DERIVED


def test_quiet_seconds_have_no_details() -> None:
    assert pack_details(Details()) is None
    assert unpack_details(None).is_empty


def test_details_come_back_as_they_were() -> None:
    details = cluster_at(T0, 3, [0.01, 0.2, 700.0]).details
    packed = pack_details(details)
    assert packed is not None
    assert unpack_details(packed) == details
    assert len(packed) < 100


def test_a_histogram_of_other_bounds_keeps_them() -> None:
    odd = HistogramValue((1.0, 2.0), (3, 0, 4), 20.0)
    details = Details({"m": ModelDetails(histograms={"latency": odd})})
    assert unpack_details(pack_details(details)).histograms()["latency"] == odd


def test_rows_stay_small_however_many_models_there_are() -> None:
    models = {f"m{n:03}": ModelDetails((float(n), 0, 0, 0)) for n in range(40)}
    kept = bounded(models)
    assert len(kept) == MAX_MODELS
    assert sum(model.sums[0] for model in kept.values()) == sum(range(40))
    assert "m039" in kept
    assert kept[OTHERS].sums[0] == sum(range(25))


@given(st.lists(st.lists(st.floats(0.002, 300), min_size=1, max_size=40), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_percentile_of_many_buckets_is_near_the_true_one(parts: list[list[float]]) -> None:
    samples = [cluster_at(T0 + n, len(part), part) for n, part in enumerate(parts)]
    merged = merge_samples(samples, 60, T0)
    values = [value for part in parts for value in part]
    for name, share in (("latency_p50", 50), ("latency_p95", 95)):
        true = float(np.percentile(values, share, method="inverted_cdf"))
        assert true / LATENCY_ERROR <= figure(merged, name) <= true * LATENCY_ERROR
    assert figure(merged, "requests") == len(values)


@given(st.permutations(range(8)))
@settings(max_examples=30, deadline=None)
def test_the_order_in_which_samples_come_does_not_matter(order: list[int]) -> None:
    samples = [cluster_at(T0 + n, n, [0.01 * (n + 1)]) for n in range(8)]
    assert repr(merge_samples([samples[n] for n in order], 60, T0)) == repr(
        merge_samples(samples, 60, T0)
    )


def test_merging_in_steps_is_merging_at_once() -> None:
    seconds = [cluster_at(T0 + n, n % 7, [0.001 * n + 0.002]) for n in range(3600)]
    minutes = gather(seconds, 60)
    hours = gather(gather(gather(minutes, 300), 900), 3600)
    (stepwise,), (at_once,) = hours, gather(seconds, 3600)
    assert stepwise.covered == at_once.covered == 3600
    assert stepwise.details == at_once.details
    assert figure(stepwise, "latency_p99") == figure(at_once, "latency_p99")


def test_two_nodes_are_never_mixed() -> None:
    samples = [node_at(T0, 10, node="a"), node_at(T0, 90, node="b")]
    assert [(s.node, s.figures[0]) for s in gather(samples, 60)] == [("a", 10.0), ("b", 90.0)]


def test_what_was_watched_is_told() -> None:
    (minute,) = gather([node_at(T0 + n, 10) for n in (0, 1, 50)], 60)
    assert minute.covered == 3


def test_each_length_is_made_of_whole_shorter_ones() -> None:
    assert all(b % a == 0 for a, b in itertools.pairwise(RESOLUTIONS))
    assert bucket_of(T0 + 59.9, 60) == T0


def test_no_figure_is_no_number() -> None:
    (merged,) = gather([node_at(T0, 1), node_at(T0 + 1, 2)], 60)
    assert math.isnan(merged.figures[place_of(NODE_FIGURES)["gpu_usage"]])
    assert repr(NAN) == "nan"


def test_observed_histograms_hold_what_lies_beyond() -> None:
    assert observed([700.0], KNOWN_BOUNDS[1]).counts[-1] == 1
