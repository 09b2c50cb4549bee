"""Streams whose reader, or whose web process, goes away in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
import psutil
import redis

from inference.protocol import DoneEvent, FinishReason, Timings, TokenEvent, Usage
from inference.stream import JobKeys
from inference.wire import encode_json
from llamagpu.lib.config import redis_socket
from tests.e2e.conftest import LONG, PARIS, Stack, read_sse, wait_until
from tests.e2e.test_inference import settled

MEBIBYTE = 1 << 20


def web_process(stack: Stack) -> psutil.Process:
    for process in psutil.Process(stack.process.pid).children(recursive=True):
        with suppress(psutil.Error):  # one that has just ended
            if "llamagpu.web_server" in process.cmdline():
                return process
    raise AssertionError("there is no web process")


def begin(
    stack: Stack,
    request_id: str,
    num_events: int,
    deed: Callable[[], None] = lambda: None,
    **fields: Any,
) -> list[dict[str, Any]]:
    """The first events of a long answer; then `deed` is done and the connection closed."""
    events: list[dict[str, Any]] = []
    with httpx.stream(
        "POST",
        f"{stack.url}/api/stream_infer",
        json={**LONG, **fields},
        headers=stack.headers | {"X-Request-ID": request_id},
        timeout=60,
    ) as response:
        for event in read_sse(response.iter_lines()):
            events.append(event | {"job": response.headers["X-Job-ID"]})
            if len(events) == num_events:
                deed()
                break
    return events


def go_on(stack: Stack, job: str, cursor: str) -> list[dict[str, Any]]:
    """What follows after `cursor`, up to the end; empty once there is nothing more."""
    with httpx.stream(
        "GET",
        f"{stack.url}/api/jobs/{job}/events",
        headers=stack.headers | {"Last-Event-ID": cursor},
        timeout=60,
    ) as response:
        return list(read_sse(response.iter_lines())) if response.status_code == 200 else []


def kill_web(stack: Stack) -> None:
    web = web_process(stack)
    os.kill(web.pid, signal.SIGKILL)
    web.wait(30)


def test_a_web_process_killed_in_mid_stream_costs_its_reader_nothing(stack: Stack) -> None:
    expected = stack.text(LONG)
    events = begin(stack, "kill-web", 5, lambda: kill_web(stack), resumable=True)
    wait_until(lambda: stack.probe() == 200, "the web process is back")
    rest = go_on(stack, events[0]["job"], events[-1]["id"])
    text = "".join(event["token"] for event in events + rest)
    assert text == rest[-1]["final_text"] == expected
    assert go_on(stack, events[0]["job"], rest[-1]["id"]) == []


def test_who_leaves_a_resumable_stream_finds_it_again(stack: Stack) -> None:
    expected = stack.text(LONG)
    events = begin(stack, "resume", 3, resumable=True)
    while not events[-1]["is_complete"]:
        more = go_on(stack, events[0]["job"], events[-1]["id"])[:7]
        assert more, "there is an end"
        events += more
    assert "".join(event["token"] for event in events) == expected
    row = settled(stack, "resume")
    assert row is not None
    assert (row["state"], row["attempt"]) == ("succeeded", 1)


def test_a_job_whose_web_process_was_killed_and_to_which_nobody_comes_back_ends(
    stack: Stack,
) -> None:
    begin(stack, "forsaken", 2, lambda: kill_web(stack), max_tokens=2000)
    row = wait_until(lambda: settled(stack, "forsaken"), "the job is settled")
    assert row["state"] == "cancelled"
    wait_until(lambda: stack.probe() == 200, "the web process is back")


def test_a_reader_who_reads_nothing_costs_the_web_process_little(stack: Stack) -> None:
    """The stream of a finished job is replaced by 100 MB of text."""
    job = stack.infer(PARIS).json()["metadata"]["job_id"]
    fabricate(stack, job, size=100 * MEBIBYTE)
    web = web_process(stack)
    before = web.memory_info().rss
    with socket.create_connection(("127.0.0.1", stack.port), timeout=30) as connection:
        head = f"GET /api/jobs/{job}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        key = f"Authorization: {stack.headers['Authorization']}\r\n\r\n"
        connection.sendall((head + key).encode())
        assert b" 200 " in connection.recv(64)
        for _ in range(20):  # others are served meanwhile
            assert "Paris" in stack.text(PARIS)
        assert web.memory_info().rss - before < 40 * MEBIBYTE


def fabricate(stack: Stack, job: str, size: int) -> None:
    client = redis.Redis.from_url(f"unix://{redis_socket(stack.data_dir)}")
    key, text = JobKeys(job).events, "x" * 10_000
    client.delete(key)
    pipeline = client.pipeline(transaction=False)
    for number in range(size // len(text)):
        pipeline.xadd(key, {"e": encode_json(TokenEvent(text, number))}, id=f"1-{number + 1}")
    done = DoneEvent("x", FinishReason.STOP, Usage(), Timings(), "m", "cpu")
    pipeline.xadd(key, {"e": encode_json(done)}, id="2-1")
    pipeline.expire(key, 300)
    pipeline.execute()
    client.close()


def test_events_are_the_same_whoever_reads_them_first(stack: Stack) -> None:
    events = begin(stack, "same", 10_000, max_tokens=20)
    again = go_on(stack, events[0]["job"], "0-0")
    assert [json.dumps(event) for event in again] == [
        json.dumps({name: value for name, value in event.items() if name != "job"})
        for event in events
    ]
