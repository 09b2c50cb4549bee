"""Jobs and their timelines on the whole stack: the real model, a real engine that is killed."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import httpx

from tests.e2e.conftest import LONG, PARIS, Stack, read_sse, wait_until


def get(stack: Stack, path: str) -> dict[str, Any]:
    response = httpx.get(f"{stack.url}/api/{path}", headers=stack.headers, timeout=30)
    assert response.status_code == 200, response.text
    return dict(response.json())


def events(timeline: dict[str, Any], stage: str) -> list[dict[str, Any]]:
    return [event for event in timeline["events"] if event["stage"] == stage]


def test_an_answer_tells_where_its_time_went(stack: Stack) -> None:
    answer = stack.infer(PARIS).json()
    job_id, request_id = answer["metadata"]["job_id"], answer["metadata"]["request_id"]
    job = get(stack, f"jobs/{job_id}")["job"]
    assert job["content"]["output"] == answer["result"]["generated_text"]
    assert job["usage"] == answer["metadata"]["usage"]
    assert job["timings"]["queue_time"] == answer["metadata"]["queue_time"]
    assert all(seconds is not None for seconds in job["timings"].values())
    assert job["reserved_tokens"] >= job["usage"]["total_tokens"]

    timeline = get(stack, f"jobs/{job_id}/timeline")
    parts = {event["stage"]: event["duration"] for event in timeline["events"]}
    spans = ("admission", "queue", "load", "engine_queue", "prefill", "decode")
    assert 0 < sum(parts[stage] for stage in spans) <= parts["end"]
    assert answer["result"]["generated_text"] not in str(timeline)
    (of_request,) = get(stack, f"requests/{request_id}")["results"]
    assert of_request["events"] == timeline["events"]


def test_a_killed_engine_stands_in_the_timeline(stack: Stack) -> None:
    job_id = ""
    with httpx.stream(
        "POST", f"{stack.url}/api/stream_infer", json=LONG, headers=stack.headers, timeout=120
    ) as response:
        request_id = response.headers["x-request-id"]
        stream = read_sse(response.iter_lines())
        next(stream)
        job_id = get(stack, f"jobs?request_id={request_id}")["results"][0]["job_id"]
        os.kill(stack.engine_pid(), signal.SIGKILL)
        last = list(stream)[-1]
    assert last["is_complete"]
    timeline = get(stack, f"jobs/{job_id}/timeline")
    attempts = [event["details"] for event in events(timeline, "attempt")]
    assert [(item["number"], item.get("cause")) for item in attempts] == [
        (1, None),
        (2, "engine_died"),
    ]
    (load,) = events(timeline, "load")
    assert load["duration"] > 0
    assert events(timeline, "end")[0]["details"]["finish_reason"] == "length"


def test_a_running_job_is_ended_by_its_owner(stack: Stack) -> None:
    frames: list[dict[str, Any]] = []
    request_id = "req-to-be-ended"

    def listen() -> None:
        with httpx.stream(
            "POST",
            f"{stack.url}/api/stream_infer",
            json=LONG,
            headers=stack.headers | {"X-Request-ID": request_id},
            timeout=120,
        ) as response:
            frames.extend(read_sse(response.iter_lines()))

    caller = threading.Thread(target=listen)
    caller.start()

    def running() -> list[dict[str, Any]]:
        found = get(stack, f"jobs?request_id={request_id}&state=running")
        return list(found["results"])

    job_id = wait_until(running, "it runs")[0]["job_id"]
    address = f"{stack.url}/api/jobs/{job_id}"
    assert httpx.delete(address, headers=stack.headers, timeout=30).status_code == 200
    caller.join(60)
    assert frames[-1]["error"]["code"] == "CANCELLED"
    job = get(stack, f"jobs/{job_id}")["job"]
    assert (job["state"], job["error"]["code"]) == ("cancelled", "CANCELLED")
    again = httpx.delete(address, headers=stack.headers, timeout=30)
    assert again.json()["job"]["state"] == "cancelled"
