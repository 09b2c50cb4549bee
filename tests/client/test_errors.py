"""Refusals become errors of their own class, and what is safe to repeat is repeated."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import llamagpu_client as lg
from llamagpu_client import AsyncClient, Client, LlamaGPUError

ANSWER = {
    "success": True,
    "result": {
        "generated_text": "Paris", "tokens_generated": 1, "inference_time": 0.1,
        "model_used": "m", "backend": "cpu", "finish_reason": "stop",
    },
    "metadata": {
        "request_id": "req_1", "job_id": "j1", "timestamp": "2026-11-24T20:00:00+00:00",
        "processing_time": 0.2, "queue_time": 0.0, "plugins": [],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2,
                  "cached_tokens": 0, "of_a_newer_server": 1},
    },
}  # fmt: skip


class Script:
    """A transport that plays its steps one after the other and keeps what it was asked."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx.Response) else httpx.Response(200, json=step)

    def client(self, **options: Any) -> Client:
        return Client("http://host", "lg_k", transport=httpx.MockTransport(self), **options)


def refused(status: int, code: str = "", *, details: Any = None, **headers: str) -> httpx.Response:
    body = {
        "success": False,
        "error": {"code": code, "message": "no", "details": details},
        "request_id": "req_9",
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=body, headers={"X-Request-ID": "req_9", **named})


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the client would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "INVALID_INPUT", lg.InvalidInput),
        (400, "CONTEXT_LENGTH_EXCEEDED", lg.ContextLengthExceeded),
        (401, "AUTHENTICATION_FAILED", lg.AuthenticationFailed),
        (403, "PERMISSION_DENIED", lg.PermissionDenied),
        (404, "MODEL_NOT_FOUND", lg.ModelNotFound),
        (404, "JOB_NOT_FOUND", lg.JobNotFound),
        (404, "PLUGIN_NOT_FOUND", lg.PluginNotFound),
        (400, "PLUGIN_REFUSED", lg.PluginRefused),
        (503, "PLUGIN_FAILED", lg.Unavailable),
        (500, "PLUGIN_LOAD_FAILED", lg.ServerError),
        (409, "CONFLICT", lg.Conflict),
        (413, "CONTENT_TOO_LARGE", lg.ContentTooLarge),
        (429, "RATE_LIMIT_EXCEEDED", lg.RateLimited),
        (429, "QUOTA_EXCEEDED", lg.QuotaExceeded),
        (429, "QUEUE_FULL", lg.QueueFull),
        (500, "INFERENCE_FAILED", lg.ServerError),
        (503, "NO_WORKER", lg.Unavailable),
        (504, "DEADLINE_EXCEEDED", lg.DeadlineExceeded),
        (499, "CANCELLED", lg.Cancelled),
        (404, "", lg.NotFound),
        (418, "SOMETHING_NEW", LlamaGPUError),
    ],
)
def test_each_refusal_has_its_class(status: int, code: str, kind: type[LlamaGPUError]) -> None:
    client = Script(refused(status, code)).client(max_retries=0)
    with pytest.raises(LlamaGPUError) as caught:
        client.infer("hello")
    assert type(caught.value) is kind
    assert (caught.value.status, caught.value.code) == (status, code)
    assert caught.value.request_id == "req_9"
    assert "req_9" in str(caught.value)


def test_wrong_input_names_its_field() -> None:
    details = [{"field": "temperature", "message": "Must be at most 2."}]
    client = Script(refused(400, "INVALID_INPUT", details=details)).client()
    with pytest.raises(lg.InvalidInput) as caught:
        client.infer("hello", temperature=3)
    assert caught.value.field == "temperature"


def test_an_answer_in_foreign_words_is_an_error_too() -> None:
    for body in ({"hello": 1}, [], None):
        with pytest.raises(LlamaGPUError, match="does not know"):
            Script(httpx.Response(200, json=body)).client().infer("hello")
    with pytest.raises(lg.Unavailable):
        Script(httpx.Response(502, text="<html>")).client(max_retries=0).infer("hello")


def test_what_the_server_asks_to_repeat_is_repeated_with_the_same_key(
    pauses: list[float],
) -> None:
    script = Script(
        refused(503, "NO_WORKER", Retry_After="5"),
        refused(429, "RATE_LIMIT_EXCEEDED", Retry_After="7"),
        ANSWER,
    )
    assert script.client().infer("hello").generated_text == "Paris"
    assert pauses == [5.0, 7.0]
    keys = {request.headers["Idempotency-Key"] for request in script.requests}
    assert len(keys) == 1


def test_a_wait_beyond_patience_is_the_callers_to_decide(pauses: list[float]) -> None:
    script = Script(refused(429, "QUOTA_EXCEEDED", Retry_After="86400"))
    with pytest.raises(lg.QuotaExceeded) as caught:
        script.client().infer("hello")
    assert caught.value.retry_after == 86400
    assert pauses == []


def test_a_refusal_that_would_stay_is_not_repeated() -> None:
    for status in (400, 404, 500, 504):
        script = Script(refused(status))
        with pytest.raises(LlamaGPUError):
            script.client().infer("hello")
        assert len(script.requests) == 1


def test_a_broken_connection_is_tried_again() -> None:
    script = Script(httpx.ReadError("cut"), httpx.ConnectError("away"), ANSWER)
    assert script.client().infer("hello").job_id == "j1"
    script = Script(*[httpx.ReadError("cut")] * 3)
    with pytest.raises(lg.ConnectionFailed):
        script.client().infer("hello")
    assert len(script.requests) == 3


def test_what_might_act_twice_is_not_sent_again_once_it_was_sent() -> None:
    script = Script(httpx.ReadError("cut"))
    with pytest.raises(lg.ConnectionFailed):
        script.client().models.register("path:x")
    assert len(script.requests) == 1
    made = {"model": {"id": "x", "state": "available"}}
    script = Script(httpx.ConnectError("away"), made)
    assert script.client().models.register("path:x").id == "x"


def test_without_retries_no_key_is_sent() -> None:
    script = Script(ANSWER)
    script.client(max_retries=0).infer("hello")
    assert "Idempotency-Key" not in script.requests[0].headers


def test_each_call_has_a_key_of_its_own() -> None:
    script = Script(ANSWER, ANSWER)
    client = script.client()
    client.infer("hello")
    client.infer("hello")
    first, second = (request.headers["Idempotency-Key"] for request in script.requests)
    assert first != second


def test_a_redirect_does_not_take_the_key_along() -> None:
    script = Script(httpx.Response(307, headers={"Location": "http://elsewhere/api/infer"}))
    with pytest.raises(LlamaGPUError):
        script.client().infer("hello")
    assert len(script.requests) == 1


def test_names_cannot_leave_their_place_in_the_address() -> None:
    script = Script({"model": {"id": "x", "state": "available"}})
    script.client().models.get("../keys?x=1#y")
    assert script.requests[0].url.raw_path == b"/api/models/..%2Fkeys%3Fx%3D1%23y"


async def test_the_asynchronous_client_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("llamagpu_client.async_client.asyncio.sleep", sleep)
    script = Script(refused(503, "NO_WORKER", Retry_After="5"), httpx.ReadError("cut"), ANSWER)
    answering: Callable[[httpx.Request], httpx.Response] = script
    transport = httpx.MockTransport(answering)
    async with AsyncClient("http://host", "lg_k", transport=transport) as client:
        assert (await client.infer("hello")).usage.total_tokens == 2
    assert slept[0] == 5.0
    transport = httpx.MockTransport(Script(refused(404, "JOB_NOT_FOUND")))
    async with AsyncClient("http://host", "lg_k", transport=transport) as client:
        with pytest.raises(lg.JobNotFound):
            await client.jobs.get("x")
