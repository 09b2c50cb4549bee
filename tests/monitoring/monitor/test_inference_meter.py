"""What was served, from two readings of the metrics: exact sums, percentiles, resets, silences."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from monitoring.history.details import Details
from monitoring.history.figures import CLUSTER_FIGURES, place_of
from monitoring.history.samples import Sample
from monitoring.metrics.families import Kind
from monitoring.metrics.histograms import LATENCY_BUCKETS, observed
from monitoring.metrics.reading import Snapshot
from monitoring.metrics.storage import FamilyInfo
from monitoring.monitor.contributions import ModelLoad, ServiceLoad
from monitoring.monitor.inference_meter import InferenceMeter, active_requests
from monitoring.monitor.inference_totals import Totals, between, totals_of

LABELS = {
    "request_success_total": ("model_name", "finished_reason"),
    "request_failure_total": ("model_name", "code"),
    "generation_tokens_total": ("model_name",),
    "prompt_tokens_total": ("model_name",),
    "e2e_request_latency_seconds": ("model_name",),
}
LOAD = ServiceLoad(workers=1, active=3, queued=2, models={"m": ModelLoad(2, 1, 1, 0.5)})


def totals(
    counts: Mapping[tuple[str, ...], float], latencies: Mapping[str, list[float]] | None = None
) -> Totals:
    """Of counters `(family, *labels)`, and of the latencies of each model."""
    counters: dict[str, dict[tuple[str, ...], float]] = {}
    for (family, *labels), count in counts.items():
        counters.setdefault(family, {})[tuple(labels)] = count
    histograms = {
        (model,): observed(values, LATENCY_BUCKETS) for model, values in (latencies or {}).items()
    }
    return totals_of(
        Snapshot(
            at=0.0,
            families={
                name: FamilyInfo(name, Kind.COUNTER, "", labels) for name, labels in LABELS.items()
            },
            counters=counters,
            histograms={"e2e_request_latency_seconds": histograms},
        )
    )


def served(requests: int, failed: int = 0, tokens: int = 0, model: str = "m") -> Totals:
    return totals(
        {
            ("request_success_total", model, "stop"): requests - failed,
            ("request_failure_total", model, "NO_WORKER"): failed,
            ("generation_tokens_total", model): tokens,
        },
        {model: [0.2] * requests},
    )


class Meter:
    """A meter and its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self._meter = InferenceMeter(clock=lambda: self.now)

    def at(self, now: float, found: Totals, load: ServiceLoad = LOAD) -> tuple[dict, Sample | None]:
        self.now = now
        measured = self._meter.measure(found, load, 1_000_000 + now)
        return measured.stats, measured.sample


def figure(sample: Sample | None, name: str) -> float:
    assert sample is not None
    return sample.figures[place_of(CLUSTER_FIGURES)[name]]


def test_the_first_reading_says_nothing_of_before() -> None:
    stats, sample = Meter().at(0, served(1000))
    assert sample is None
    assert (stats["requests"], stats["requests_per_second"]) == (0, None)


def test_two_readings_say_what_was_served_in_between() -> None:
    meter = Meter()
    meter.at(0, served(100, tokens=1000))
    stats, sample = meter.at(10, served(130, failed=3, tokens=1600))
    assert (stats["requests"], stats["errors"], stats["generation_tokens"]) == (30, 3, 600)
    assert (stats["requests_per_second"], stats["tokens_per_second"]) == (3.0, 60.0)
    assert stats["error_rate"] == 0.1
    assert stats["errors_by_code"] == {"NO_WORKER": 3}
    assert stats["latency"]["count"] == 30
    assert stats["latency"]["p95"] == pytest.approx(0.2, rel=0.5)
    assert (figure(sample, "requests"), figure(sample, "generation_tokens")) == (30, 600)
    assert sample is not None
    assert (sample.covered, sample.start) == (10, 1_000_010)


def test_the_live_figures_are_of_the_last_minute_the_history_of_the_last_reading() -> None:
    meter = Meter()
    for second in range(0, 130, 10):
        stats, sample = meter.at(second, served(second))
    assert stats["window"] == 60
    assert stats["requests"] == 60
    assert figure(sample, "requests") == 10


def test_counts_that_began_anew_with_redis_are_taken_as_they_are() -> None:
    meter = Meter()
    meter.at(0, served(1000, tokens=9000))
    _, sample = meter.at(1, served(4, tokens=40))
    assert (figure(sample, "requests"), figure(sample, "generation_tokens")) == (4, 40)


def test_what_happened_during_a_long_silence_is_put_into_no_bucket() -> None:
    meter = Meter()
    meter.at(0, served(10))
    stats, sample = meter.at(300, served(500))
    assert sample is None
    assert stats["requests"] == 0
    _, sample = meter.at(301, served(501))
    assert figure(sample, "requests") == 1


def test_what_a_caller_has_cancelled_is_a_request_and_no_error() -> None:
    found = totals({("request_failure_total", "m", "CANCELLED"): 4})
    assert (found.sum_of("requests"), found.sum_of("errors"), found.errors) == (4, 0, {})


def test_how_busy_it_is_stands_beside_it() -> None:
    meter = Meter()
    meter.at(0, served(0))
    stats, sample = meter.at(1, served(0))
    assert (stats["active_requests"], stats["running"], stats["waiting"]) == (5, 2, 1)
    assert (stats["queued"], stats["workers"]) == (2, 1)
    assert stats["models"]["m"]["kv_cache_usage"] == 0.5
    assert (figure(sample, "kv_cache_usage"), figure(sample, "workers")) == (50, 1)


def test_active_are_those_that_workers_or_engines_have_whichever_know_more() -> None:
    assert active_requests(ServiceLoad(active=1, queued=1, models={"m": ModelLoad(4, 2)})) == 7
    assert active_requests(ServiceLoad(active=9, queued=1, models={"m": ModelLoad(4, 2)})) == 10


def test_models_are_told_apart_and_together() -> None:
    both = Totals(
        {**served(10).models, **served(30, model="n").models},
    )
    found = between(both, Totals({**served(4).models, **served(10, model="n").models}))
    assert {name: model.sums[0] for name, model in found.models.items()} == {"m": 6, "n": 20}
    assert found.sum_of("requests") == 26
    assert found.histograms()["latency"].count == 26


def test_a_quiet_second_takes_no_room() -> None:
    step = between(served(10), served(10))
    assert step.details() == Details()


def test_families_that_nobody_has_counted_are_nothing() -> None:
    empty = totals_of(Snapshot(at=0.0))
    assert empty == Totals({}, {}, {})
