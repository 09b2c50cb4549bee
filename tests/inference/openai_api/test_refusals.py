"""Bad calls under /v1: an error of OpenAI's form that names the field, and nothing left behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.services.limits import set_limits
from inference.admission import queue_length
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from tests.conftest import MODEL, Caller
from tests.inference.api.test_key_models import limited_to

CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
HI = [{"role": "user", "content": "hi"}]
WEATHER = {"type": "function", "function": {"name": "weather"}}
CALL = {"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
FORM = {"type": "json_object"}


def turn(**fields: Any) -> dict[str, Any]:
    return {"messages": [fields]}


def tool_with(parameters: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": parameters}}


BAD_CHATS: list[tuple[dict[str, Any], str]] = [
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": HI * 513}, "messages"),
    (turn(role="user", content="x" * 200_001), "messages"),
    (turn(role="king", content="x"), "messages[0].role"),
    (turn(role="user"), "messages[0].content"),
    (turn(role="user", content=None), "messages[0].content"),
    (turn(role="user", content=[]), "messages[0].content"),
    (turn(role="user", content=["x"]), "messages[0].content[0]"),
    (turn(role="user", content=[{"type": "text"}]), "messages[0].content[0].text"),
    (turn(role="user", content=[{"type": "text", "text": 5}]), "messages[0].content[0].text"),
    (turn(role="user", content=[{"type": "image_url"}]), "messages[0].content[0].type"),
    (
        turn(role="user", content=[{"type": "text", "text": "x", "y": 1}]),
        "messages[0].content[0].y",
    ),
    (turn(role="user", content="a\u0000b"), "messages[0].content"),
    (turn(role="user", content="x", color="red"), "messages[0].color"),
    (turn(role="user", content="x", tool_calls=[CALL]), "messages[0].tool_calls"),
    (turn(role="user", content="x", tool_call_id="1"), "messages[0].tool_call_id"),
    (turn(role="tool", content="x"), "messages[0].tool_call_id"),
    (turn(role="assistant", tool_calls=[{"id": "1"}]), "messages[0].tool_calls[0].type"),
    (turn(role="assistant", tool_calls=[CALL] * 65), "messages[0].tool_calls"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 10**9}, "max_tokens"),
    ({"max_completion_tokens": "5"}, "max_completion_tokens"),
    ({"max_completion_tokens": 10**9}, "max_completion_tokens"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
    ({"min_tokens": 6, "max_tokens": 5}, "min_tokens"),
    ({"min_tokens": 100_000}, "min_tokens"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"n": 0}, "n"),
    ({"n": 17}, "n"),
    ({"n": 10_000}, "n"),
    ({"stop": ["x"] * 1000}, "stop"),
    ({"seed": 2**63}, "seed"),
    ({"seed": 1.5}, "seed"),
    ({"logit_bias": {"a": 1}}, "logit_bias"),
    ({"logprobs": 1}, "logprobs"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"stream": True, "stream_options": {"include_all": True}}, "stream_options.include_all"),
    ({"stream": "yes"}, "stream"),
    ({"user": "x" * 129}, "user"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"tools": []}, "tools"),
    ({"tools": [WEATHER] * 2}, "tools"),
    ({"tools": [tool_with({"default": float("nan")})], "tool_choice": "required"}, "tools"),
    ({"tools": [tool_with({"title": "a\u0000"})], "tool_choice": "required"}, "tools"),
    ({"tools": [tool_with({"title": "\ud800"})], "tool_choice": "required"}, "tools"),
    ({"tools": [tool_with({"title": "x" * 65_536})], "tool_choice": "required"}, "tools"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": "often"}, "tool_choice"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
        "tool_choice",
    ),
    ({"tools": [WEATHER], "tool_choice": "required", "response_format": FORM}, "response_format"),
    # The built-in model's template knows no tools.
    ({"tools": [WEATHER]}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": "auto"}, "tool_choice"),
]
UNSERVED = [
    "store", "metadata", "service_tier", "functions", "function_call", "audio", "modalities",
    "prediction", "parallel_tool_calls", "reasoning_effort", "web_search_options", "prompt",
    "priority", "timeout", "best_of", "chat_template_kwargs", "extra_body",
]  # fmt: skip
BAD_COMPLETIONS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": ["a", 5]}, "prompt"),
    ({"prompt": [[]]}, "prompt"),
    ({"prompt": [True]}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [10**6]}, ""),
    ({"prompt": ["a"] * 33}, "prompt"),
    ({"prompt": "a" * 200_001}, "prompt"),
    ({"prompt": ["a"] * 32, "n": 3}, "n"),
    ({"suffix": "x"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"response_format": FORM}, "response_format"),
    ({"messages": HI}, "messages"),
    ({"logprobs": 21}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": 1, "echo": True, "stream": True}, "stream"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": 0, "echo": False, "logprobs": 1}, "max_tokens"),
    ({"max_tokens": -1, "echo": True}, "max_tokens"),
    ({"max_tokens": 0, "min_tokens": 1, "echo": True}, "min_tokens"),
]


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any) -> None:
    """So that a refusal is the input's doing, not for lack of a worker."""
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))


def refused(response: Any, status: int) -> dict[str, Any]:
    """The error, of OpenAI's form; no trace of the call."""
    body: dict[str, Any] = json.loads(response.content)
    assert response.status_code == status, body
    assert response["Content-Type"] == "application/json"
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert response["X-Request-ID"]
    assert not InferenceJob.objects.exists()
    assert queue_length() == 0
    return dict(body["error"])


def chat(caller: Caller, **fields: Any) -> Any:
    return caller.post(CHAT, json.dumps({"model": MODEL, "messages": HI, **fields}))


@pytest.mark.parametrize(("fields", "param"), BAD_CHATS, ids=[str(f)[:50] for f, _ in BAD_CHATS])
def test_a_bad_field_of_a_chat_is_named(
    member: Caller, model: Any, fields: dict[str, Any], param: str
) -> None:
    error = refused(chat(member, **fields), 400)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_input")
    assert error["param"].startswith(param)
    assert error["message"].startswith(param)


@pytest.mark.parametrize("name", UNSERVED)
def test_what_is_not_served_is_refused_by_name(member: Caller, model: Any, name: str) -> None:
    assert refused(chat(member, **{name: 1}), 400)["param"] == name


@pytest.mark.parametrize(
    ("fields", "param"), BAD_COMPLETIONS, ids=[str(f)[:50] for f, _ in BAD_COMPLETIONS]
)
def test_a_bad_field_of_a_completion_is_named(
    member: Caller, model: Any, fields: dict[str, Any], param: str
) -> None:
    response = member.post(PLAIN, json.dumps({"model": MODEL, "prompt": "hi", **fields}))
    error = refused(response, 400)
    assert (error["param"] or "").startswith(param)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b'{"model": "a", "model": "b"}'])
def test_a_body_that_is_no_json_object_is_refused(member: Caller, raw: bytes) -> None:
    assert refused(member.post(CHAT, raw), 400)["type"] == "invalid_request_error"


def test_an_unknown_model_is_not_found(member: Caller, model: Any) -> None:
    error = refused(chat(member, model="gpt-9"), 404)
    assert (error["type"], error["code"], error["param"]) == (
        "not_found_error", "model_not_found", "model",
    )  # fmt: skip


def test_a_disabled_model_is_not_found(member: Caller, model: Any) -> None:
    model.is_enabled = False
    model.save()
    assert refused(chat(member), 404)["code"] == "model_not_found"
    assert member.get("/v1/models").json()["data"] == []


def test_a_prompt_beyond_the_context_is_told_by_its_code(member: Caller, model: Any) -> None:
    long = "many words " * 5000
    for path, field, value in (
        (CHAT, "messages", [{"role": "user", "content": long}]),
        (PLAIN, "prompt", long),
        (PLAIN, "prompt", [[5], [5] * 9000]),
        ("/v1/responses", "input", long),
        ("/v1/embeddings", "input", ["hi", long]),
    ):
        error = refused(member.post(path, json.dumps({"model": MODEL, field: value})), 400)
        assert (error["code"], error["param"]) == ("context_length_exceeded", field)
        assert error["type"] == "invalid_request_error"
    given = refused(
        chat(member, max_tokens=4096, messages=[{**HI[0], "content": "a " * 5000}]), 400
    )
    assert (given["code"], given["param"]) == ("context_length_exceeded", "messages")


def test_a_missing_or_wrong_key_is_told_as_clients_know_it(member: Caller, model: Any) -> None:
    for headers in ({}, {"Authorization": "Bearer x"}):
        response = Client().post(CHAT, {}, content_type="application/json", headers=headers)
        error = refused(response, 401)
        assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_guest_may_not_generate_but_may_look(guest: Caller, model: Any) -> None:
    assert refused(chat(guest), 403)["type"] == "permission_error"
    assert guest.get("/v1/models").status_code == 200


def test_other_addresses_methods_and_types_answer_alike(member: Caller, model: Any) -> None:
    assert refused(member.get("/v1/nothing"), 404)["type"] == "not_found_error"
    assert refused(member.post("/v1/moderations", {}), 404)["code"] == "not_found"
    assert refused(member.get(CHAT), 405)["type"] == "invalid_request_error"
    form = Client().post(CHAT, {"model": MODEL}, headers=member.headers)
    assert refused(form, 415)["code"] == "unsupported_media_type"
    assert refused(member.post(CHAT, b" " * 2_000_000), 413)["code"] == "content_too_large"


def test_without_a_worker_a_client_shall_come_again(
    member: Caller, model: Any, redis_client: Any
) -> None:
    redis_client.flushall()
    response = chat(member)
    assert refused(response, 503)["type"] == "server_error"
    assert int(response["Retry-After"]) > 0
    assert "x-should-retry" not in response


def test_the_rate_is_told_in_clients_own_headers(member: Caller, model: Any) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", inference_per_minute=1)
    first = chat(member, n=0)
    assert first["x-ratelimit-limit-requests"] == "1"
    assert first["x-ratelimit-remaining-requests"] == "0"
    assert first["x-ratelimit-reset-requests"].endswith("s")
    second = chat(member)
    assert refused(second, 429)["type"] == "rate_limit_error"
    assert int(second["Retry-After"]) > 0
    assert second["retry-after-ms"] == f"{second['Retry-After']}000"


def test_tokens_of_the_minute_are_told_where_a_limit_holds(member: Caller, model: Any) -> None:
    assert "x-ratelimit-limit-tokens" not in chat(member, n=0)
    set_limits(actor=None, subject=f"user:{member.user.username}", tokens_per_minute=20)
    response = chat(member, max_tokens=100)
    assert refused(response, 429)["code"] == "rate_limit_exceeded"
    assert response["x-ratelimit-limit-tokens"] == "20"
    assert response["x-ratelimit-remaining-tokens"] == "20"
    assert response["x-ratelimit-reset-tokens"] == "0s"


def test_a_quota_is_nothing_to_try_again(member: Caller, model: Any) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=10)
    response = chat(member)
    assert refused(response, 429)["code"] == "insufficient_quota"
    assert response["x-should-retry"] == "false"


def test_the_list_of_models_is_what_the_key_may_use(member: Caller, model: Any) -> None:
    body = member.get("/v1/models").json()
    assert body["object"] == "list"
    (listed,) = body["data"]
    assert (listed["id"], listed["object"]) == (MODEL, "model")
    assert member.get(f"/v1/models/{MODEL}").json() == listed
    assert refused(member.get("/v1/models/org/other"), 404)["code"] == "model_not_found"
    other = limited_to(member, "other")
    assert other.get("/v1/models").json()["data"] == []
    assert refused(other.get(f"/v1/models/{MODEL}"), 404)["code"] == "model_not_found"
    assert refused(chat(other), 404)["code"] == "model_not_found"
