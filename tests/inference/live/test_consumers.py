"""`/ws/infer/` of the whole portal, whose engine says what it is told to."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inference.benchmark.portal.own_stack import OwnStack
from inference.consumers import MAX_CALLS
from tests.contract.fuzz import fake_stack
from tests.e2e.conftest import read_sse, wait_until
from tests.live_portal import Socket, open_socket

# The fake engine holds no more than a hundred tokens.
SAY = {"text": "say one two three", "max_tokens": 20}


@pytest.fixture(scope="module")
def stack() -> Iterator[OwnStack]:
    with fake_stack() as running:
        yield running


@pytest.fixture
def socket(stack: OwnStack) -> Iterator[Socket]:
    with open_socket(stack.port, "/ws/infer/", stack.key) as opened:
        yield opened


def infer(socket: Socket, call_id: str, **fields: Any) -> None:
    socket.say({"action": "infer", "id": call_id, "max_tokens": 20, **fields})


def to_the_end(socket: Socket, call_id: str) -> list[dict[str, Any]]:
    """All that is said of one call."""
    said = []
    while not said or said[-1]["event_type"] not in ("complete", "error", "nothing_follows"):
        message = socket.read()
        if message.get("id") == call_id:
            said.append(message)
    return said


def call(stack: OwnStack, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {stack.key}"} | options.pop("headers", {})
    url = f"http://127.0.0.1:{stack.port}{path}"
    return httpx.request(method, url, headers=headers, timeout=60, **options)


def key_of(stack: OwnStack, user: str) -> str:
    made = call(stack, "POST", "/api/keys", json={"name": "k", "user": user})
    assert made.status_code == 201, made.text
    return str(made.json()["key"])


def state_of(stack: OwnStack, job_id: str) -> str:
    return str(call(stack, "GET", f"/api/jobs/{job_id}").json()["job"]["state"])


def test_tokens_come_with_the_payloads_and_places_of_sse(stack: OwnStack, socket: Socket) -> None:
    infer(socket, "a", **SAY)
    accepted, *events = to_the_end(socket, "a")
    assert accepted["event_type"] == "accepted"
    answer = call(stack, "GET", f"/api/jobs/{accepted['job_id']}/events")
    of_sse = list(read_sse(iter(answer.text.splitlines())))
    assert [event["data"] for event in events] == [
        {name: value for name, value in event.items() if name not in ("id", "event")}
        for event in of_sse
    ]
    assert [event["event_id"] for event in events] == [event["id"] for event in of_sse]
    assert {event["event_type"] for event in events[:-1]} == {"token"}
    assert events[-1]["event_type"] == "complete"
    assert events[-1]["data"]["final_text"] == "one two three "
    assert {event["job_id"] for event in events} == {accepted["job_id"]}
    found = call(stack, "GET", f"/api/requests/{accepted['data']['request_id']}")
    assert found.json()["results"][0]["job_id"] == accepted["job_id"]


def test_calls_run_beside_each_other(socket: Socket) -> None:
    infer(socket, "slow", text="hang")
    infer(socket, "quick", **SAY)
    assert to_the_end(socket, "quick")[-1]["event_type"] == "complete"
    infer(socket, "quick", **SAY)
    assert to_the_end(socket, "quick")[-1]["event_type"] == "complete", "a name is free again"


def test_a_name_is_used_once_at_a_time_and_calls_are_bounded(socket: Socket) -> None:
    for number in range(MAX_CALLS):
        infer(socket, str(number), text="hang")
    infer(socket, "3", text="hang")
    infer(socket, "more", text="hang")
    codes = {}
    while len(codes) < 2:
        message = socket.read()
        if message["event_type"] == "error":
            codes[message["id"]] = message["data"]["error"]["code"]
    assert codes == {"3": "CONFLICT", "more": "RATE_LIMIT_EXCEEDED"}


def test_a_cancelled_call_ends_with_the_error_of_rest(stack: OwnStack, socket: Socket) -> None:
    infer(socket, "a", text="hang", resumable=True)
    job_id = socket.next("accepted")["job_id"]
    assert socket.next("token")["data"]["token"] == "wait "
    socket.say({"action": "cancel", "id": "a"})
    end = to_the_end(socket, "a")[-1]
    assert end["data"]["error"]["code"] == "CANCELLED"
    wait_until(lambda: state_of(stack, job_id) == "cancelled", "it is cancelled")


def test_any_job_of_ones_own_can_be_cancelled_and_no_other(stack: OwnStack, socket: Socket) -> None:
    infer(socket, "a", text="hang")
    job_id = socket.next("accepted")["job_id"]
    with open_socket(stack.port, "/ws/infer/", stack.key) as other:
        other.say({"action": "cancel", "id": "x", "job_id": job_id})
        assert other.next("cancelling")["job_id"] == job_id
        other.say({"action": "cancel", "id": "y", "job_id": str(uuid.uuid4())})
        assert other.error() == "JOB_NOT_FOUND"
        other.say({"action": "cancel", "id": "a"})
        assert other.error() == "NOT_FOUND"
    assert to_the_end(socket, "a")[-1]["data"]["error"]["code"] == "CANCELLED"


def test_who_leaves_ends_what_runs(stack: OwnStack) -> None:
    with open_socket(stack.port, "/ws/infer/", stack.key) as leaving:
        infer(leaving, "a", text="hang")
        job_id = leaving.next("accepted")["job_id"]
        leaving.next("token")
    wait_until(lambda: state_of(stack, job_id) == "cancelled", "it is cancelled")


def test_who_leaves_at_once_leaves_nothing_running(stack: OwnStack) -> None:
    """Wherever the calls are just then: some have no job yet."""
    for _ in range(4):
        with open_socket(stack.port, "/ws/infer/", stack.key) as leaving:
            for number in range(3):
                infer(leaving, str(number), text="hang")

    def all_ended() -> bool:
        jobs = call(stack, "GET", "/api/jobs?limit=100").json()["results"]
        return all(job["state"] not in ("queued", "running") for job in jobs)

    wait_until(all_ended, "all are cancelled")


def test_a_resumable_call_goes_on_and_is_resumed_elsewhere(stack: OwnStack) -> None:
    with open_socket(stack.port, "/ws/infer/", stack.key) as leaving:
        infer(leaving, "a", resumable=True, **SAY)
        first = leaving.next("token")
    with open_socket(stack.port, "/ws/infer/", stack.key) as back:
        resume = {"action": "resume", "id": "b", "job_id": first["job_id"]}
        back.say({**resume, "cursor": first["event_id"]})
        accepted, *events = to_the_end(back, "b")
        assert accepted["job_id"] == first["job_id"]
        tokens = [first, *events]
        assert "".join(event["data"]["token"] for event in tokens) == "one two three "
        assert events[-1]["data"]["final_text"] == "one two three "
        back.say({**resume, "cursor": events[-1]["event_id"]})
        assert to_the_end(back, "b")[-1]["event_type"] == "nothing_follows"
        back.say({**resume, "cursor": "x"})
        assert back.error() == "INVALID_INPUT"
        back.say({**resume, "job_id": str(uuid.uuid4())})
        assert back.error() == "JOB_NOT_FOUND"


def test_an_idempotency_key_means_the_same_call_over_either_door(
    stack: OwnStack, socket: Socket
) -> None:
    key = uuid.uuid4().hex
    infer(socket, "a", idempotency_key=key, **SAY)
    accepted, *events = to_the_end(socket, "a")
    assert not accepted["data"]["is_replayed"]
    infer(socket, "b", idempotency_key=key, **SAY)
    again, *replayed = to_the_end(socket, "b")
    assert again["data"]["is_replayed"]
    assert again["job_id"] == accepted["job_id"]
    assert replayed[-1]["data"]["final_text"] == events[-1]["data"]["final_text"]
    headers = {"Idempotency-Key": key}
    answer = call(stack, "POST", "/api/stream_infer", json=SAY, headers=headers)
    assert answer.headers["X-Job-ID"] == accepted["job_id"]
    infer(socket, "c", idempotency_key=key, text="say other")
    assert to_the_end(socket, "c")[-1]["data"]["error"]["code"] == "CONFLICT"


@pytest.mark.parametrize(
    ("message", "code", "named"),
    [
        ({"action": "infer", **SAY}, "INVALID_INPUT", "id"),
        ({"action": "infer", "id": 7, **SAY}, "INVALID_INPUT", "id"),
        ({"action": "infer", "id": "a"}, "INVALID_INPUT", "text"),
        ({"action": "infer", "id": "a", **SAY, "surprise": 1}, "INVALID_INPUT", "surprise"),
        ({"action": "infer", "id": "a", **SAY, "stream": False}, "INVALID_INPUT", "stream"),
        ({"action": "infer", "id": "a", **SAY, "temperature": 3}, "INVALID_INPUT", "temperature"),
        ({"action": "infer", "id": "a", **SAY, "model": "no"}, "MODEL_NOT_FOUND", "no"),
        ({"action": "infer", "id": "a", **SAY, "idempotency_key": "\n"}, "INVALID_INPUT", "dempot"),
        ({"action": "infer", "id": "a", **SAY, "idempotency_key": 1}, "INVALID_INPUT", "dempot"),
        ({"action": "infer", "id": "a", **SAY, "text": "fail"}, "INFERENCE_FAILED", "as asked"),
        ({"action": "cancel"}, "INVALID_INPUT", "id"),
        ({"action": "cancel", "id": "a", "job_id": "x"}, "INVALID_INPUT", "job_id"),
        ({"action": "resume", "id": "a"}, "INVALID_INPUT", "job_id"),
        ({"action": "ping", "text": "x"}, "INVALID_INPUT", "text"),
        ({"action": "subscribe"}, "INVALID_INPUT", "action"),
    ],
)
def test_what_is_wrong_is_told_as_rest_does_and_ends_nothing(
    message: dict[str, Any], code: str, named: str, socket: Socket
) -> None:
    socket.say(message)
    error = socket.read()
    while error["event_type"] == "accepted":
        error = socket.read()
    assert error["event_type"] == "error"
    assert error["data"]["success"] is False
    assert error["data"]["error"]["code"] == code
    assert named in json.dumps(error["data"])
    infer(socket, "after", **SAY)
    assert to_the_end(socket, "after")[-1]["event_type"] == "complete"


def test_a_refused_call_is_found_by_its_request_id(stack: OwnStack, socket: Socket) -> None:
    infer(socket, "a", **SAY, model="none")
    request_id = to_the_end(socket, "a")[-1]["data"]["request_id"]
    found = call(stack, "GET", f"/api/requests/{request_id}").json()
    assert "MODEL_NOT_FOUND" in json.dumps(found)


def test_limits_count_over_both_doors(stack: OwnStack) -> None:
    body = {"username": "limited", "password": uuid.uuid4().hex, "role": "user"}
    assert call(stack, "POST", "/api/users", json=body).status_code == 201
    answer = call(stack, "PUT", "/api/limits/user:limited", json={"inference_per_minute": 2})
    assert answer.status_code == 200, answer.text
    key = key_of(stack, "limited")
    with open_socket(stack.port, "/ws/infer/", key) as socket:
        infer(socket, "first", **SAY)
        assert to_the_end(socket, "first")[-1]["event_type"] == "complete"
        own = {"Authorization": f"Bearer {key}"}
        assert call(stack, "POST", "/api/infer", json=SAY, headers=own).status_code == 200
        infer(socket, "third", **SAY)
        error = to_the_end(socket, "third")[-1]["data"]["error"]
        assert error["code"] == "RATE_LIMIT_EXCEEDED"
        assert error["retry_after"] > 0


def test_strangers_and_guests_are_not_let_in(stack: OwnStack) -> None:
    with open_socket(stack.port, "/ws/infer/") as stranger:
        assert stranger.end()[0] == 4401
    body = {"username": "visitor", "password": uuid.uuid4().hex, "role": "guest"}
    assert call(stack, "POST", "/api/users", json=body).status_code == 201
    with open_socket(stack.port, "/ws/infer/", key_of(stack, "visitor")) as guest:
        assert guest.end()[0] == 4403
    rows = call(stack, "GET", "/api/audit?limit=5").json()["results"]
    assert any("ws/infer/" in json.dumps(row) for row in rows), "refused attempts are kept"


def test_a_stream_filter_acts_on_the_socket_as_it_does_over_http(
    stack: OwnStack, socket: Socket
) -> None:
    """Also where a phrase comes in two pieces, and for two calls at once."""
    path = "/api/plugins/stop_phrase"
    config = {"phrases": ["two three"], "action": "replace", "replacement": "2 3"}
    assert call(stack, "PUT", f"{path}/config", json={"config": config}).status_code == 200
    loaded = call(stack, "POST", f"{path}/load")
    assert loaded.json()["plugin"]["state"] == "active"
    try:
        for call_id in ("a", "b"):
            infer(socket, call_id, **SAY)
        said: dict[str, list[str]] = {"a": [], "b": []}
        ends: dict[str, dict[str, Any]] = {}
        while len(ends) < len(said):
            message = socket.read()
            if message["event_type"] == "token":
                said[message["id"]].append(message["data"]["token"])
            elif message["event_type"] in ("complete", "error"):
                ends[message["id"]] = message
        over_http = call(stack, "POST", "/api/infer", json=SAY).json()["result"]["generated_text"]
        assert over_http == "one 2 3 "
        for call_id, pieces in said.items():
            assert "".join(pieces) == ends[call_id]["data"]["final_text"] == over_http
            job = call(stack, "GET", f"/api/jobs/{ends[call_id]['job_id']}").json()["job"]
            assert job["plugins"] == ["stop_phrase"]
    finally:
        call(stack, "POST", f"{path}/unload")
