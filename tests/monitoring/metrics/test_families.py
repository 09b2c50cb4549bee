"""Families count what they are told, and stay bounded whatever the labels are."""

from __future__ import annotations

import math
import threading

import pytest

from monitoring.metrics import Counter, Gauge, Histogram, Registry
from monitoring.metrics.labels import MAX_LENGTH, MAX_SERIES, OTHER


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_a_counter_adds_up_and_gives_its_delta_once(registry: Registry) -> None:
    calls = Counter("calls_total", "Calls.", ("door",), registry=registry)
    calls.inc(door="api")
    calls.inc(2.5, door="api")
    calls.inc(door="v1")
    assert calls.take() == {("api",): 3.5, ("v1",): 1}
    assert calls.take() == {}


def test_threads_lose_nothing(registry: Registry) -> None:
    calls = Counter("calls_total", "Calls.", registry=registry)
    seconds = Histogram("seconds", "Seconds.", registry=registry)

    def call() -> None:
        for _ in range(5_000):
            calls.inc()
            seconds.observe(0.01)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    taken = 0.0
    while any(thread.is_alive() for thread in threads):
        taken += calls.take().get((), 0)  # a flush in the middle
    assert taken + calls.take().get((), 0) == 20_000
    assert sum(seconds.take()[()][:-1]) == 20_000


@pytest.mark.parametrize("labels", [{}, {"door": "api", "more": "x"}, {"dor": "api"}])
def test_other_labels_than_the_declared_ones_are_refused(
    registry: Registry, labels: dict[str, str]
) -> None:
    calls = Counter("calls_total", "Calls.", ("door",), registry=registry)
    with pytest.raises(ValueError, match="label"):
        calls.inc(**labels)


@pytest.mark.parametrize("amount", [-1, math.nan, math.inf])
def test_a_counter_only_grows(registry: Registry, amount: float) -> None:
    calls = Counter("calls_total", "Calls.", registry=registry)
    with pytest.raises(ValueError, match="cannot grow"):
        calls.inc(amount)


def test_a_name_is_declared_once_and_well(registry: Registry) -> None:
    Gauge("running", "Running.", registry=registry)
    with pytest.raises(ValueError, match="already"):
        Gauge("running", "Running.", registry=registry)
    with pytest.raises(ValueError, match="_total"):
        Counter("calls", "Calls.", registry=registry)
    with pytest.raises(ValueError, match="is no name"):
        Gauge("Run-ning", "Running.", registry=registry)
    with pytest.raises(ValueError, match="`le`"):
        Histogram("seconds", "Seconds.", ("le",), registry=registry)
    with pytest.raises(ValueError, match="in order"):
        Histogram("seconds", "Seconds.", buckets=(2.0, 1.0), registry=registry)


def test_more_values_than_the_cap_are_other(registry: Registry) -> None:
    calls = Counter("calls_total", "Calls.", ("model", "door"), max_values=3, registry=registry)
    for number in range(100):
        calls.inc(model=f"model-{number}", door="api")
    taken = calls.take()
    assert taken[(OTHER, "api")] == 97
    assert len(taken) == 4
    assert len(calls._space._keys) == 3


def test_series_are_bounded_whatever_the_labels(registry: Registry) -> None:
    calls = Counter("calls_total", "Calls.", ("one", "two"), registry=registry)
    for one in range(60):
        for two in range(60):
            calls.inc(one=one, two=two)
    taken = calls.take()
    assert len(taken) <= MAX_SERIES + 1
    assert sum(taken.values()) == 3600


def test_label_values_are_short_and_clean(registry: Registry) -> None:
    calls = Counter("calls_total", "Calls.", ("model",), registry=registry)
    calls.inc(model="x" * 500)
    calls.inc(model="a\x1fb\nc\ud800")
    assert set(calls.take()) == {("x" * MAX_LENGTH,), ("a?b?c?",)}


def test_a_gauge_is_set_moved_and_forgotten(registry: Registry) -> None:
    running = Gauge("running", "Running.", ("model",), registry=registry)
    running.set(3, model="a")
    running.inc(model="a")
    running.dec(2, model="a")
    running.set(1, model="b")
    assert {key: value for key, (value, _) in running.values().items()} == {("a",): 2, ("b",): 1}
    running.remove(model="b")
    running.set(math.nan, model="a")
    assert running.values() == {}


def test_a_histogram_counts_at_and_below_its_bounds(registry: Registry) -> None:
    seconds = Histogram("seconds", "Seconds.", buckets=(1, 2), registry=registry)
    for value in (0.5, 1.0, 1.5, 2.0, 3.0, -1.0, math.nan, math.inf):
        seconds.observe(value)
    seconds.observe_all([(2.0, 3), (-1.0, 0)])
    assert seconds.take() == {(): [3, 5, 1, 14.0]}


def test_a_source_that_fails_stops_nothing(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    running = Gauge("running", "Running.", registry=registry)
    registry.add_source(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    registry.add_source(lambda: running.set(5))
    registry.ask_sources()
    assert running.values()[()][0] == 5
    assert "a source of metrics failed" in caplog.text
