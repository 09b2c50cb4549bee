"""One call's trace through web, worker and engine, at a real receiver."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from tests.e2e.conftest import Stack, wait_until
from tests.otlp_receiver import SeenSpan, Spans, receiving_spans

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WORDS = "unmistakable-marmalade"
MODEL = "smollm2-135m-instruct"
ASK = [{"role": "user", "content": "Hi"}]
PROCESSES = {"llamagpu-web", "llamagpu-worker", "llamagpu-engine"}
#: Address, body, and how many jobs that makes.
DOORS: dict[str, tuple[dict[str, Any], int]] = {
    "/api/infer": ({"text": "Hi", "max_tokens": 3}, 1),
    "/api/stream_infer": ({"text": "Hi", "max_tokens": 3}, 1),
    "/api/batch_infer": ({"inputs": ["Hi", "Ho"], "max_tokens": 3}, 2),
    "/v1/chat/completions": ({"model": MODEL, "messages": ASK, "max_tokens": 3}, 1),
    "/v1/chat/completions?streamed": (
        {"model": MODEL, "messages": ASK, "max_tokens": 3, "stream": True},
        1,
    ),
    "/v1/completions": ({"model": MODEL, "prompt": ["Hi", "Ho"], "max_tokens": 3}, 2),
    "/v1/embeddings": ({"model": MODEL, "input": "Hi"}, 1),
    "/v1/responses": ({"model": MODEL, "input": "Hi", "max_output_tokens": 16}, 1),
}


@pytest.fixture(scope="module")
def traced() -> Iterator[tuple[Stack, Spans]]:
    with receiving_spans() as spans, TemporaryDirectory(prefix="llamagpu-traced-") as folder:
        stack = Stack(
            Path(folder), "1", LLAMA_TRACE_ENDPOINT=spans.endpoint, LLAMA_LOG_FORMAT="json"
        )
        try:
            stack.wait_ready()
            yield stack, spans
        finally:
            if stack.process.poll() is None:
                stack.stop()


def of_trace(spans: list[SeenSpan], trace: str) -> dict[str, SeenSpan]:
    return {span.name: span for span in spans if span.trace_id == trace}


def test_a_call_is_one_trace_through_all_stages(traced: tuple[Stack, Spans]) -> None:
    stack, spans = traced
    headers = {**stack.headers, "traceparent": f"00-{TRACE}-{PARENT}-01"}
    body = {"text": f"Say {WORDS}", "max_tokens": 5, "temperature": 0}
    answer = httpx.post(f"{stack.url}/api/infer", json=body, headers=headers, timeout=120)
    assert answer.is_success, answer.text
    stages = {
        "POST /api/infer", "limits and validation", "admission", "response", "job", "queue",
        "plugins, before, and loading", "text_completion smollm2-135m-instruct", "engine",
        "plugins, after, and stream",
    }  # fmt: skip
    found = spans.wait_for(
        lambda seen: of_trace(seen, TRACE) if stages <= of_trace(seen, TRACE).keys() else None
    )
    call, job, model = (
        found[name] for name in ("POST /api/infer", "job", "text_completion smollm2-135m-instruct")
    )
    assert call.parent_id == PARENT
    assert job.parent_id == call.span_id
    assert model.parent_id == job.span_id
    assert found["engine"].parent_id == model.span_id
    assert [found[name].service for name in ("admission", "queue", "engine")] == [
        "llamagpu-web",
        "llamagpu-worker",
        "llamagpu-engine",
    ]
    told = model.attributes
    assert told["gen_ai.request.model"] == "smollm2-135m-instruct"
    assert told["gen_ai.usage.output_tokens"] == 5
    assert told["gen_ai.response.finish_reasons"] == ["length"]
    assert "first token" in found["engine"].events
    assert all(span.end >= span.start for span in found.values())
    request_id = answer.headers["X-Request-ID"]
    assert call.attributes["llamagpu.request.id"] == request_id
    assert not any(WORDS in str(span.attributes) for span in spans.all)


def test_a_call_that_fails_says_so_in_its_trace(traced: tuple[Stack, Spans]) -> None:
    stack, spans = traced
    trace = TRACE[:-1] + "7"
    headers = {**stack.headers, "traceparent": f"00-{trace}-{PARENT}-01"}
    body = {"text": "Count.", "max_tokens": 2000, "ignore_eos": True, "timeout": 1}
    answer = httpx.post(f"{stack.url}/api/infer", json=body, headers=headers, timeout=120)
    assert answer.status_code == 504
    job = spans.wait_for(lambda seen: of_trace(seen, trace).get("job"))
    assert job.is_error
    assert job.attributes["error.type"] == "DEADLINE_EXCEEDED"


def test_a_caller_s_word_not_to_be_traced_counts(traced: tuple[Stack, Spans]) -> None:
    stack, spans = traced
    silent, loud = TRACE[:-1] + "8", TRACE[:-1] + "9"
    for trace, flags in ((silent, "00"), (loud, "01")):
        headers = {**stack.headers, "traceparent": f"00-{trace}-{PARENT}-{flags}"}
        body = {"text": "Hi", "max_tokens": 2}
        httpx.post(f"{stack.url}/api/infer", json=body, headers=headers, timeout=120)
    spans.wait_for(lambda seen: "engine" in of_trace(seen, loud))
    assert of_trace(spans.all, silent) == {}


def test_the_log_names_the_request_and_never_the_prompt(traced: tuple[Stack, Spans]) -> None:
    stack, _ = traced
    address = f"{stack.url}/api/system/logs"

    def lines(query: str = "limit=1000") -> list[dict[str, Any]]:
        answer = httpx.get(f"{address}?{query}", headers=stack.headers, timeout=60)
        return list(answer.json()["logs"])

    # Every process says that it has taken up a change.
    change = {"max_queue": 300}
    httpx.patch(f"{stack.url}/api/system/config", json=change, headers=stack.headers, timeout=60)
    everybody = {"web", "worker", "engine", "monitor"}
    wait_until(lambda: everybody <= {line["component"] for line in lines()}, "their lines")
    headers = {**stack.headers, "X-Request-ID": "kill-and-tell"}
    body = {"text": f"Say {WORDS}", "max_tokens": 300, "ignore_eos": True}
    with httpx.stream(
        "POST", f"{stack.url}/api/stream_infer", json=body, headers=headers, timeout=120
    ) as answer:
        for number, line in enumerate(answer.iter_lines()):
            if number == 5:
                os.kill(stack.engine_pid(), signal.SIGKILL)
            assert line is not None
    (told,) = wait_until(
        lambda: lines("request_id=kill-and-tell&level=warning"), "the worker's word"
    )
    assert told["component"] == "worker"
    assert "the engine died" in told["message"]
    assert not any(WORDS in str(line) for line in lines())


def whole_trace(trace: str, num_jobs: int) -> Callable[[list[SeenSpan]], list[SeenSpan] | None]:
    """All spans of the trace, once each of its jobs has come to its end in worker and engine."""

    def found(seen: list[SeenSpan]) -> list[SeenSpan] | None:
        spans = [span for span in seen if span.trace_id == trace]
        ended = [sum(span.name == name for span in spans) for name in ("job", "engine", "response")]
        return spans if ended == [num_jobs, num_jobs, 1] else None

    return found


def check_whole(spans: list[SeenSpan], root: str) -> None:
    """Every span but the first hangs on another one of the trace."""
    ids = {span.span_id for span in spans}
    assert {span.service for span in spans} == PROCESSES
    assert [span.name for span in spans if span.parent_id == PARENT] == [root]
    assert [span.name for span in spans if span.parent_id not in ids | {PARENT}] == []


@pytest.mark.parametrize("door", DOORS)
def test_a_call_is_one_trace(traced: tuple[Stack, Spans], door: str) -> None:
    stack, spans = traced
    (body, num_jobs), trace = DOORS[door], uuid.uuid4().hex
    headers = {**stack.headers, "traceparent": f"00-{trace}-{PARENT}-01"}
    path = door.partition("?")[0]
    answer = httpx.post(f"{stack.url}{path}", json=body, headers=headers, timeout=120)
    assert answer.is_success, answer.text
    check_whole(spans.wait_for(whole_trace(trace, num_jobs)), f"POST {path}")


def test_calls_of_a_socket_are_of_the_traces_that_they_name(
    traced: tuple[Stack, Spans],
) -> None:
    stack, spans = traced
    whole, own = uuid.uuid4().hex, uuid.uuid4().hex
    headers = {**stack.headers, "traceparent": f"00-{whole}-{PARENT}-01"}
    address = stack.url.replace("http", "ws") + "/ws/infer/"
    with connect(address, additional_headers=headers) as socket:
        for trace in ({}, {"traceparent": f"00-{own}-{PARENT}-01"}):
            call = {"action": "infer", "id": "c", "text": "Hi", "max_tokens": 3, **trace}
            socket.send(json.dumps(call))
            while json.loads(socket.recv(timeout=60))["event_type"] != "complete":
                pass
        socket.send(json.dumps({**call, "traceparent": "nonsense"}))
        told = json.loads(socket.recv(timeout=60))
    for trace_id in (whole, own):
        check_whole(spans.wait_for(whole_trace(trace_id, 1)), "POST /ws/infer/")
    assert told["data"]["error"]["code"] == "INVALID_INPUT"
    assert "traceparent" in told["data"]["error"]["message"]
