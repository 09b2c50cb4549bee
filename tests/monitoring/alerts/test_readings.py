"""What a rule reads: levels, and what came within its window."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from monitoring.alerts.readings import Readings, UnknownValueError
from monitoring.alerts.values import Value, ValueKind, register_value, watchables
from monitoring.alerts.windows import LONGEST, Windows
from monitoring.metrics.families import Kind
from monitoring.metrics.histograms import observed
from monitoring.metrics.reading import Snapshot
from monitoring.metrics.storage import FamilyInfo

TTFT = "time_to_first_token_seconds"
ENDED, FAILED = "request_success_total", "request_failure_total"


@dataclass
class Question:
    metric: str
    labels: dict[str, str] = field(default_factory=dict)
    comparison: str = ">"
    window: int = 60
    quantile: float = 0.5


def snapshot(**parts: Any) -> Snapshot:
    families = {
        ENDED: FamilyInfo(ENDED, Kind.COUNTER, "x", ("model_name", "finished_reason")),
        FAILED: FamilyInfo(FAILED, Kind.COUNTER, "x", ("model_name", "code")),
    }
    return Snapshot(at=0.0, families=families, **parts)


def read(readings: Readings, question: Question, now: float, **parts: Any) -> dict[Any, float]:
    readings.begin(snapshot(**parts), now)
    return {tuple(one.labels.values()): one.value for one in readings.values(question)}


def test_a_gauge_is_its_level_with_its_labels() -> None:
    gauges = {"gpu_temperature_celsius": {("a", "0"): 50.0, ("b", "0"): 90.0}}
    question = Question("gpu_temperature_celsius", {"node": "b"})
    assert read(Readings(), question, 0, gauges=gauges) == {("b", "0"): 90.0}


def test_a_filter_may_end_in_a_star() -> None:
    gauges = {"node_cpu_usage_ratio": {("gpu-1",): 1.0, ("gpu-2",): 2.0, ("web",): 3.0}}
    question = Question("node_cpu_usage_ratio", {"node": "gpu-*"})
    assert read(Readings(), question, 0, gauges=gauges).keys() == {("gpu-1",), ("gpu-2",)}


def test_a_counter_is_what_came_within_the_window() -> None:
    readings, question = Readings(), Question("engine_crashes_total", window=60)
    counts = [(0, 100.0), (30, 103.0), (60, 104.0), (90, 110.0)]
    found = [
        read(readings, question, at, counters={"engine_crashes_total": {("m",): number}})
        for at, number in counts
    ]
    assert found == [{}, {("m",): 3.0}, {("m",): 4.0}, {("m",): 7.0}]


def test_a_counter_that_begins_anew_counts_from_zero() -> None:
    readings, question = Readings(), Question("engine_crashes_total")
    read(readings, question, 0, counters={"engine_crashes_total": {("m",): 100.0}})
    assert read(readings, question, 10, counters={"engine_crashes_total": {("m",): 2.0}}) == {
        ("m",): 2.0
    }


def test_a_series_that_is_new_counts_whole() -> None:
    readings, question = Readings(), Question("engine_crashes_total")
    read(readings, question, 0, counters={})
    assert read(readings, question, 10, counters={"engine_crashes_total": {("m",): 3.0}}) == {
        ("m",): 3.0
    }


def test_too_little_is_told_only_of_a_window_that_is_over() -> None:
    readings, question = Readings(), Question("prompt_tokens_total", comparison="<", window=60)
    series = {"prompt_tokens_total": {("m",): 1.0}}
    assert [read(readings, question, at, counters=series) for at in (0, 30, 59)] == [{}, {}, {}]
    assert read(readings, question, 60, counters=series) == {("m",): 0.0}


def test_a_histogram_is_a_percentile_of_the_window_alone() -> None:
    readings, question = Readings(), Question(TTFT)
    bounds = (0.1, 1.0, 10.0)
    slow = observed([5.0] * 100, bounds)
    both = observed([5.0] * 100 + [0.05] * 10, bounds)
    assert read(readings, question, 0, histograms={TTFT: {("m",): slow}}) == {}
    assert read(readings, question, 10, histograms={TTFT: {("m",): slow}}) == {}
    assert read(readings, question, 20, histograms={TTFT: {("m",): both}})[("m",)] <= 0.1


def test_failures_are_a_part_of_what_ended_without_what_was_cancelled() -> None:
    readings, question = Readings(), Question("error_ratio")
    read(readings, question, 0, counters={})
    counters = {
        ENDED: {("m", "stop"): 6.0, ("n", "stop"): 3.0},
        FAILED: {("m", "INTERNAL_ERROR"): 2.0, ("m", "CANCELLED"): 2.0, ("n", "X"): 1.0},
    }
    # Four ends of n are too few to say anything.
    assert read(readings, question, 10, counters=counters) == {("m",): 0.2}


def test_a_change_is_against_the_beginning_of_the_window() -> None:
    numbers = {"now": 10.0}
    register_value(Value("test_change", "x", (), lambda _: {(): numbers["now"]}, ValueKind.CHANGE))
    readings, question = Readings(), Question("test_change", window=60)
    read(readings, question, 0)
    numbers["now"] = 45.0
    assert read(readings, question, 30) == {(): 35.0}
    numbers["now"] = 5.0
    assert read(readings, question, 60) == {(): -5.0}


def test_a_dear_value_is_not_read_every_time() -> None:
    reads = []
    register_value(
        Value(
            "test_dear",
            "x",
            (),
            lambda _: {(): float(len(reads) or reads.append(1) or 1)},
            every=30,
        )
    )
    readings, question = Readings(), Question("test_dear")
    for at in (0, 10, 20):
        read(readings, question, at)
    assert len(reads) == 1


def test_a_name_that_is_not_measured_is_an_error() -> None:
    readings = Readings()
    readings.begin(snapshot(), 0)
    with pytest.raises(UnknownValueError, match="no_such"):
        readings.values(Question("no_such"))


def test_a_part_of_a_whole() -> None:
    gauges = {
        "node_disk_used_bytes": {("a", "/"): 95.0, ("a", "/x"): 1.0},
        "node_disk_total_bytes": {("a", "/"): 100.0},
    }
    assert read(Readings(), Question("disk_used_ratio"), 0, gauges=gauges) == {("a", "/"): 0.95}


def test_windows_are_bounded() -> None:
    windows = Windows()
    for at in range(3 * LONGEST):
        windows.note("x", float(at), {(): at})
    assert len(windows._readings["x"]) <= LONGEST / 5 + 2
    series, ago = windows.before("x", 300, 3 * LONGEST)
    assert 300 <= ago <= 306
    assert series[()] == 3 * LONGEST - ago


def test_everything_that_built_in_rules_watch_is_known(db: None) -> None:
    from monitoring.models import AlertRule

    rules = AlertRule.objects.filter(is_builtin=True)
    assert rules.count() >= 10
    known = watchables()
    assert [rule.metric for rule in rules if rule.metric not in known] == []
