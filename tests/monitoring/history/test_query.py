"""Columns out of rows: each bucket in its place, gaps as gaps, the end of the span from shorter buckets."""

from __future__ import annotations

import math

import pytest

from monitoring.history.query import Column, Span, read_columns, span_of
from monitoring.history.samples import CLUSTER, Sample, gather
from monitoring.models import MetricSample
from monitoring.services.history import write_samples
from monitoring.services.rollups import roll_up
from tests.monitoring.history.samples import T0, cluster_at, node_at

pytestmark = pytest.mark.django_db

HOUR = Span(T0, T0 + 3600, 900)


def read(
    span: Span, *names: str, node: str | None = None, model: str | None = None
) -> list[Column]:
    return read_columns(MetricSample.objects.all().of_node(node), span, names, model)


def values(column: Column) -> list[float | None]:
    return [None if math.isnan(value) else value for value in column.values]


def test_a_span_ends_with_the_bucket_that_is_open() -> None:
    assert span_of("1h", "15m", now=T0 + 1) == Span(T0 - 2700, T0 + 900, 900)
    assert span_of("7d", "1m", now=T0).num_buckets == 10_080


def test_each_bucket_stands_in_its_place_and_gaps_stay() -> None:
    write_samples(gather([node_at(T0, 10), node_at(T0 + 1900, 30)], 900), now=T0)
    (column,) = read(HOUR, "cpu_usage")
    assert (column.name, column.node, column.unit) == ("cpu_usage", "a", "percent")
    assert values(column) == [10, None, 30, None]


def test_what_is_not_rolled_up_yet_is_taken_from_shorter_buckets() -> None:
    write_samples([node_at(T0 + second, 20) for second in range(0, 1000, 10)], now=T0 + 1000)
    roll_up(now=T0 + 1000)
    write_samples([node_at(T0 + 1005, 80)], now=T0 + 1005)
    (column,) = read(HOUR, "cpu_usage_max")
    assert values(column) == [20, 80, None, None]


def test_rates_are_over_what_was_watched() -> None:
    write_samples([cluster_at(T0, 30), cluster_at(T0 + 1, 10)], now=T0)
    roll_up(now=T0 + 3700)
    requests, per_second = read(HOUR, "requests", "requests_per_second")
    assert values(requests)[0] == 40
    assert values(per_second)[0] == 20


def test_an_error_rate_without_requests_is_unknown() -> None:
    write_samples([cluster_at(T0, 0), cluster_at(T0 + 900, 4)], now=T0)
    (column,) = read(HOUR, "error_rate")
    assert values(column) == [None, 0, None, None]


def test_series_of_machines_and_of_the_whole_stand_side_by_side() -> None:
    write_samples([node_at(T0, 10, node="a"), node_at(T0, 50, node="b"), cluster_at(T0, 1)], now=T0)
    found = read(HOUR, "requests", "cpu_usage")
    assert [(column.name, column.node) for column in found] == [
        ("requests", None),
        ("cpu_usage", "a"),
        ("cpu_usage", "b"),
    ]


def test_one_node_can_be_asked_for() -> None:
    write_samples([node_at(T0, 10, node="a"), node_at(T0, 50, node="b")], now=T0)
    (column,) = read(HOUR, "cpu_usage", node="b")
    assert values(column)[0] == 50


def test_one_model_can_be_asked_for() -> None:
    both = [cluster_at(T0, 3, [0.1], model="m"), cluster_at(T0 + 1, 5, [4.0], model="other")]
    write_samples(both, now=T0)
    requests, p50 = read(HOUR, "requests", "latency_p50", "cpu_usage", model="m")
    assert values(requests)[0] == 3
    assert values(p50)[0] == pytest.approx(0.1, rel=0.5)
    assert values(read(HOUR, "requests")[0])[0] == 8


def test_percentiles_of_a_longer_bucket_come_from_all_of_its_values() -> None:
    write_samples([cluster_at(T0, 99, [0.01] * 99), cluster_at(T0 + 60, 1, [5.0])], now=T0 + 60)
    roll_up(now=T0 + 3700)
    (p50, p99) = read(HOUR, "latency_p50", "latency_p99")
    assert values(p50)[0] == pytest.approx(0.01, rel=0.5)
    assert values(p99)[0] is not None
    assert (values(p99)[0] or 0) < 0.1


def test_rows_of_an_older_version_lack_what_it_did_not_know() -> None:
    write_samples([Sample("a", 900, T0, 900.0, [12.0])], now=T0)
    cpu, memory = read(HOUR, "cpu_usage", "memory_usage")
    assert (values(cpu)[0], values(memory)[0]) == (12, None)


def test_details_of_a_newer_version_hide_no_figures() -> None:
    write_samples([cluster_at(T0, 3)], now=T0)
    MetricSample.objects.filter(node=CLUSTER).update(details=b"\xc1 not what we know")
    (column,) = read(HOUR, "requests")
    assert values(column)[0] == 3


def test_an_empty_history_has_no_series() -> None:
    assert read(HOUR, "cpu_usage", "requests") == []
