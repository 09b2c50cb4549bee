"""The benchmark of tracing measures spans that really go out, and nothing where it is off."""

from __future__ import annotations

from inference.benchmark import tracing_cost
from inference.benchmark.tracing_cost import measure_tracing
from llamagpu.lib import tracing
from tests.otlp_receiver import receiving_spans


def test_off_costs_far_less_than_on_and_nothing_is_traced_afterwards() -> None:
    off, on = measure_tracing(100)
    assert (off.count, on.count) == (100, 100)
    assert 0 < off.median < on.median
    assert tracing.tracer() is None


def test_each_request_makes_the_spans_of_all_stages() -> None:
    with receiving_spans() as spans:
        tracing.start(spans.endpoint, "benchmark")
        try:
            tracing_cost._series("on", 100)
        finally:
            tracing.stop()
        names = [span.name for span in spans.all]
    assert {names.count(name) for name in ("job", "engine", "admission", "response")} == {100}
