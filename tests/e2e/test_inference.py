"""From a request to its answer on the real model, through every process."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.e2e.conftest import LONG, PARIS, Stack, read_sse, wait_until


def test_the_capital_of_france_is_paris(stack: Stack) -> None:
    response = stack.infer(PARIS)
    body = response.json()
    assert response.status_code == 200
    assert body["success"] is True
    assert "Paris" in body["result"]["generated_text"]
    assert body["result"]["finish_reason"] == "stop"
    assert body["result"]["model_used"] == "smollm2-135m-instruct"
    assert body["metadata"]["request_id"] == response.headers["X-Request-ID"]
    assert float(response.headers["X-LlamaGPU-Overhead-Ms"]) >= 0
    usage = body["metadata"]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_row_is_settled_when_the_answer_is_there(stack: Stack) -> None:
    metadata = stack.infer(PARIS).json()["metadata"]
    row = stack.job(id=metadata["job_id"].replace("-", ""))
    assert row is not None
    assert (row["state"], row["finish_reason"], row["attempt"]) == ("succeeded", "stop", 1)
    assert row["prompt_tokens"] == metadata["usage"]["prompt_tokens"]
    assert row["completion_tokens"] == metadata["usage"]["completion_tokens"]
    assert row["inference_time"] > 0
    assert row["ttft"] > 0


def test_the_stream_says_what_the_plain_answer_says(stack: Stack) -> None:
    events = stack.stream(PARIS)
    last = events[-1]
    joined = "".join(event["token"] for event in events)
    assert joined == last["final_text"] == stack.text(PARIS)
    assert last["is_complete"] is True
    assert last["finish_reason"] == "stop"
    assert not any(event["is_complete"] for event in events[:-1])
    assert [event["id"] for event in events] == [f"1-{n}" for n in range(1, len(events) + 1)]
    positions = [event["position"] for event in events[:-1]]
    assert positions == sorted(set(positions))


def test_sixteen_at_once_get_what_one_alone_gets(stack: Stack) -> None:
    body = {"text": "Name three colours and say why.", "temperature": 0, "max_tokens": 40}
    alone = stack.text(body)
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda _: stack.text(body), range(16)))
    assert set(together) == {alone}


def test_a_seed_repeats_a_sampled_text(stack: Stack) -> None:
    body = {"text": "Invent a name.", "temperature": 1.2, "seed": 7, "max_tokens": 16}
    assert stack.text(body) == stack.text(body)


def test_messages_stop_strings_and_limits_are_obeyed(stack: Stack) -> None:
    messages = [{"role": "user", "content": "Count from one to ten in words."}]
    limited = stack.infer({"messages": messages, "temperature": 0, "max_tokens": 3}).json()
    assert limited["result"]["finish_reason"] == "length"
    assert limited["result"]["tokens_generated"] == 3
    stopped = stack.infer({**PARIS, "stop": ["Paris"]}).json()["result"]
    assert stopped["finish_reason"] == "stop"
    assert "Paris" not in stopped["generated_text"]


def test_the_answer_follows_a_json_schema(stack: Stack) -> None:
    city = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": city}}
    response = stack.infer({**PARIS, "response_format": form, "max_tokens": 60})
    answer = json.loads(response.json()["result"]["generated_text"])
    assert "Paris" in answer["city"]


def test_a_schema_that_cannot_be_followed_is_the_callers_error(stack: Stack) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"not": {}}}}
    response = stack.infer({**PARIS, "response_format": form})
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["code"] == "INVALID_INPUT"
    assert error["message"].startswith("response_format: ")


def test_a_bias_forbids_a_token(stack: Stack) -> None:
    result = stack.infer({**PARIS, "logit_bias": {"7042": -100}}).json()["result"]
    assert " Paris" not in result["generated_text"]


def test_log_probabilities_come_when_asked_for(stack: Stack) -> None:
    result = stack.infer({**PARIS, "logprobs": 2}).json()["result"]
    first = result["logprobs"][0]
    assert first["logprob"] <= 0
    assert len(first["top_logprobs"]) == 2


def test_the_status_counts_what_happened(stack: Stack) -> None:
    stack.infer(PARIS)
    # Monitors write their history every few seconds.
    wait_until(lambda: stack.status()["statistics"]["jobs"]["succeeded"], "the job in the history")
    status = stack.status()
    assert status["status"] == "healthy"
    assert status["statistics"]["latency"]["p50"] > 0
    engine = status["workers"][0]["engines"][0]
    assert (engine["state"], engine["backend"]) == ("ready", "cpu")
    assert engine["resident_bytes"] > 100_000_000
    assert set(status["workers"][0]["rejected_backends"]) == {"cuda", "rocm"}


def test_the_model_is_listed_as_loaded(stack: Stack) -> None:
    body = httpx.get(f"{stack.url}/api/models", headers=stack.headers).json()
    (model,) = body["models"]
    assert model["loaded"] is True
    assert model["memory"] > 0
    assert len(model["sha256"]) == 64


def test_who_hangs_up_ends_the_generation(stack: Stack) -> None:
    request_id = "hang-up-1"
    with httpx.stream(
        "POST",
        f"{stack.url}/api/stream_infer",
        json={**LONG, "max_tokens": 2000},
        headers=stack.headers | {"X-Request-ID": request_id},
        timeout=60,
    ) as response:
        next(line for line in response.iter_lines() if line.startswith("data:"))
    row = wait_until(lambda: settled(stack, request_id), "the job is settled")
    assert row["state"] == "cancelled"


def test_who_hangs_up_on_a_plain_call_ends_it_too(stack: Stack) -> None:
    request_id = "hang-up-2"
    headers = stack.headers | {"X-Request-ID": request_id}
    body = {**LONG, "max_tokens": 2000}
    client = httpx.Client(timeout=httpx.Timeout(30, read=2))
    try:
        client.post(f"{stack.url}/api/infer", json=body, headers=headers)
    except httpx.ReadTimeout:
        client.close()
    row = wait_until(lambda: settled(stack, request_id), "the job is settled")
    assert row["state"] == "cancelled"


def test_a_deadline_is_kept(stack: Stack) -> None:
    response = stack.infer({**LONG, "max_tokens": 2000, "timeout": 1})
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "DEADLINE_EXCEEDED"


def test_an_engine_killed_in_mid_answer_costs_no_answer(stack: Stack) -> None:
    assert_survives(stack, stack.engine_pid(), "kill-engine")


def test_a_worker_killed_in_mid_answer_costs_no_answer(stack: Stack) -> None:
    assert_survives(stack, stack.worker_pid(), "kill-worker")


def test_a_worker_stopped_in_mid_answer_hands_its_job_on(stack: Stack) -> None:
    """SIGTERM, as a rolling restart sends it: what is not done in time begins again."""
    pid, request_id = stack.worker_pid(), "stop-worker"
    events: list[dict[str, Any]] = []
    with httpx.stream(
        "POST",
        f"{stack.url}/api/stream_infer",
        json={**LONG, "max_tokens": 200},
        headers=stack.headers | {"X-Request-ID": request_id},
        timeout=120,
    ) as response:
        for event in read_sse(response.iter_lines()):
            events.append(event)
            if len(events) == 3:
                os.kill(pid, signal.SIGTERM)
    names = [event["event"] for event in events]
    before = "".join(event["token"] for event in events[: names.index("restart")])
    assert events[-1]["final_text"].startswith(before)
    row = settled(stack, request_id)
    assert row is not None
    assert (row["state"], row["attempt"], row["completion_tokens"]) == ("succeeded", 2, 200)
    wait_until(lambda: stack.probe() == 200, "ready again")


def assert_survives(stack: Stack, pid: int, request_id: str) -> None:
    """Kill `pid` once tokens flow: the caller gets the whole text from a later attempt."""
    expected = stack.text(LONG)
    killed = threading.Event()
    events: list[dict[str, Any]] = []
    with httpx.stream(
        "POST",
        f"{stack.url}/api/stream_infer",
        json=LONG,
        headers=stack.headers | {"X-Request-ID": request_id},
        timeout=120,
    ) as response:
        for event in read_sse(response.iter_lines()):
            events.append(event)
            if len(events) == 3 and not killed.is_set():
                os.kill(pid, signal.SIGKILL)
                killed.set()
    assert killed.is_set()
    assert "restart" in [event["event"] for event in events]
    assert events[-1]["final_text"] == expected
    row = settled(stack, request_id)
    assert row is not None
    assert (row["state"], row["attempt"]) == ("succeeded", 2)
    wait_until(lambda: stack.probe() == 200, "ready again")
    assert "Paris" in stack.text(PARIS)


def settled(stack: Stack, request_id: str) -> dict[str, Any] | None:
    row = stack.job(request_id=request_id)
    return row if row and row["state"] not in ("queued", "running") else None
