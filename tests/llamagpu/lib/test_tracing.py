"""Tracing: nothing at all while it is off, and what goes out while it is on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    GenerationJob,
    Prompt,
    SamplingParams,
    Timings,
    Usage,
)
from inference.worker.job_trace import JobTrace
from llamagpu.lib import tracing
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.trace_export import ExportingTracer
from tests.environment import PROJECT_ROOT
from tests.otlp_receiver import Spans, receiving_spans

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    with receiving_spans() as receiving:
        tracer = ExportingTracer(receiving.endpoint, "test", 100)
        monkeypatch.setattr(tracing, "_tracer", tracer)
        yield receiving
        tracer.close()


def job(text: str = "marmalade") -> GenerationJob:
    params = SamplingParams(max_tokens=7, temperature=0.5)
    return GenerationJob(
        "j", 1, "req_1", "tiny", Prompt(text=text), params, 1.0, 2.0, traceparent=PARENT
    )


def run(job: GenerationJob, end: DoneEvent | ErrorEvent) -> None:
    trace = JobTrace(job)
    trace.begin_attempt()
    trace.begin_model()
    trace.end(end)


def done() -> DoneEvent:
    return DoneEvent("jam", "stop", Usage(3, 4), Timings(), "tiny", "cpu")  # type: ignore[arg-type]


def test_nothing_of_it_is_imported_while_it_is_off() -> None:
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'llamagpu.settings'\n"
        "import llamagpu.asgi, inference.worker.runtime\n"
        # The Redis client imports the metrics of OpenTelemetry wherever they are installed.
        "ours = ('opentelemetry.exporter', 'opentelemetry.sdk.trace.', 'llamagpu.lib.trace_export')\n"
        "print([name for name in sys.modules if name.startswith(ours)])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip().splitlines()[-1] == "[]"


def test_while_it_is_off_a_job_makes_no_span() -> None:
    trace = JobTrace(job())
    trace.begin_attempt()
    assert trace.begin_model() == ""
    trace.end(done())
    assert trace._job_span is None


@pytest.mark.parametrize(
    ("text", "is_valid"),
    [
        (PARENT, True),
        ("00-" + "0" * 32 + "-00f067aa0ba902b7-01", False),
        (PARENT.upper(), False),
        ("ff" + PARENT[2:], False),
        (PARENT + "-more", False),
        ("", False),
    ],
)
def test_what_a_traceparent_is(text: str, is_valid: bool) -> None:
    assert tracing.is_traceparent(text) == is_valid


def test_a_job_s_spans_belong_to_its_caller_s_trace_and_hold_no_prompt(spans: Spans) -> None:
    run(job(), done())
    seen = {
        span.name: span for span in spans.wait_for(lambda seen: seen if len(seen) >= 5 else None)
    }
    assert {span.trace_id for span in seen.values()} == {PARENT[3:35]}
    told = seen["text_completion tiny"].attributes
    assert told["gen_ai.request.max_tokens"] == 7
    assert told["gen_ai.usage.input_tokens"] == 3
    assert told["gen_ai.response.finish_reasons"] == ["stop"]
    assert "marmalade" not in str(seen)
    assert "jam" not in str(seen)


def test_prompts_are_told_where_somebody_has_asked_for_it(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_tells_content", True)
    run(job(), done())
    model = spans.wait_for(
        lambda seen: next((span for span in seen if span.name.startswith("text")), None)
    )
    assert "marmalade" in model.attributes["gen_ai.input.messages"]
    assert model.attributes["gen_ai.output.messages"] == "jam"


def test_an_engine_that_dies_and_the_next_attempt_are_two_spans(spans: Spans) -> None:
    trace = JobTrace(job())
    for _ in range(2):
        trace.begin_attempt()
        trace.begin_model()
    trace.end(ErrorEvent(ErrorCode.INFERENCE_FAILED, "x", Usage()))
    models = spans.wait_for(
        lambda seen: (
            found if len(found := [s for s in seen if s.name.startswith("text")]) == 2 else None
        )
    )
    assert [span.attributes["error.type"] for span in models] == ["engine died", "INFERENCE_FAILED"]


def test_a_receiver_that_is_away_slows_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    tracer = ExportingTracer("http://127.0.0.1:9", "test", 100)
    monkeypatch.setattr(tracing, "_tracer", tracer)
    for _ in range(100):
        run(job(), done())
    tracer._provider.shutdown()
