"""Bad calls: each is answered in the envelope, names its field, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from inference.admission import queue_length
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from tests.conftest import Caller, make_caller

PATHS = ["/api/infer", "/api/stream_infer", "/api/v1/infer"]


def _schema(name: str, schema: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": name, "schema": schema}}


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({}, "text"),
    ({"text": ""}, "text"),
    ({"text": 5}, "text"),
    ({"text": None}, "text"),
    ({"text": ["a"]}, "text"),
    ({"text": {"a": 1}}, "text"),
    ({"text": True}, "text"),
    ({"text": "a\u0000b"}, "text"),
    ({"text": "x" * 200_001}, "text"),
    ({"text": "hi", "messages": [{"role": "user", "content": "hi"}]}, "text"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": [{"role": "king", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "messages[0].name"),
    ({"text": "hi", "max_tokens": 0}, "max_tokens"),
    ({"text": "hi", "max_tokens": -1}, "max_tokens"),
    ({"text": "hi", "max_tokens": 1.5}, "max_tokens"),
    ({"text": "hi", "max_tokens": "10"}, "max_tokens"),
    ({"text": "hi", "max_tokens": True}, "max_tokens"),
    ({"text": "hi", "max_tokens": 10**30}, "max_tokens"),
    ({"text": "hi", "temperature": -0.1}, "temperature"),
    ({"text": "hi", "temperature": 2.1}, "temperature"),
    ({"text": "hi", "temperature": "0"}, "temperature"),
    ({"text": "hi", "temperature": float("nan")}, "temperature"),
    ({"text": "hi", "temperature": float("inf")}, "temperature"),
    ({"text": "hi", "top_p": 0}, "top_p"),
    ({"text": "hi", "top_p": 1.1}, "top_p"),
    ({"text": "hi", "top_k": -1}, "top_k"),
    ({"text": "hi", "min_p": float("-inf")}, "min_p"),
    ({"text": "hi", "repetition_penalty": 0}, "repetition_penalty"),
    ({"text": "hi", "presence_penalty": 3}, "presence_penalty"),
    ({"text": "hi", "frequency_penalty": float("nan")}, "frequency_penalty"),
    ({"text": "hi", "stop": ["a"] * 9}, "stop"),
    ({"text": "hi", "stop": [""]}, "stop"),
    ({"text": "hi", "stop": [1]}, "stop"),
    ({"text": "hi", "seed": -1}, "seed"),
    ({"text": "hi", "seed": 2**63}, "seed"),
    ({"text": "hi", "logprobs": 21}, "logprobs"),
    ({"text": "hi", "min_tokens": 101}, "min_tokens"),
    ({"text": "hi", "ignore_eos": 1}, "ignore_eos"),
    ({"text": "hi", "priority": 101}, "priority"),
    ({"text": "hi", "timeout": 0}, "timeout"),
    ({"text": "hi", "timeout": 301}, "timeout"),
    ({"text": "hi", "model": 7}, "model"),
    ({"text": "hi", "tempurature": 1}, "tempurature"),
    ({"text": "hi", "n": 2}, "n"),
    ({"text": "hi", "logit_bias": [5, 1]}, "logit_bias"),
    ({"text": "hi", "logit_bias": {"5": "1"}}, "logit_bias"),
    ({"text": "hi", "logit_bias": {"5": 100.5}}, "logit_bias"),
    ({"text": "hi", "logit_bias": {"5": float("nan")}}, "logit_bias"),
    ({"text": "hi", "logit_bias": {"05": 1}}, "logit_bias"),
    ({"text": "hi", "logit_bias": {"-1": 1}}, "logit_bias"),
    ({"text": "hi", "logit_bias": {"five": 1}}, "logit_bias"),
    ({"text": "hi", "logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias"),
    ({"text": "hi", "response_format": "json_object"}, "response_format"),
    ({"text": "hi", "response_format": {}}, "response_format.type"),
    ({"text": "hi", "response_format": {"type": "xml"}}, "response_format.type"),
    ({"text": "hi", "response_format": {"type": "regex"}}, "response_format.regex"),
    ({"text": "hi", "response_format": {"type": "regex", "regex": ""}}, "response_format.regex"),
    ({"text": "hi", "response_format": {"type": "text", "regex": "a"}}, "response_format.regex"),
    ({"text": "hi", "response_format": {"type": "grammar"}}, "response_format.grammar"),
    (
        {"text": "hi", "response_format": {"type": "grammar", "grammar": "x" * 65_537}},
        "response_format.grammar",
    ),
    ({"text": "hi", "response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    (
        {"text": "hi", "response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
        "response_format.json_schema.schema",
    ),
    (
        {"text": "hi", "response_format": _schema("a", [])},
        "response_format.json_schema.schema",
    ),
    (
        {"text": "hi", "response_format": _schema("a", {"title": "x" * 65_536})},
        "response_format.json_schema.schema",
    ),
    ({"text": "hi", "response_format": _schema("a b", {})}, "response_format.json_schema.name"),
]


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any) -> None:
    """So that a refusal is the input's doing, not for lack of a worker."""
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))


def assert_refused(response: Any, status: int, code: str) -> dict[str, Any]:
    """The envelope, and no trace of the call."""
    body: dict[str, Any] = json.loads(response.content)
    assert response.status_code == status, body
    assert response["Content-Type"] == "application/json"
    assert body["success"] is False
    assert body["error"]["code"] == code
    assert body["request_id"] == response["X-Request-ID"]
    assert body["timestamp"]
    assert not InferenceJob.objects.exists()
    assert queue_length() == 0
    return body


@pytest.mark.parametrize(("body", "field"), BAD_FIELDS, ids=[str(b)[:60] for b, _ in BAD_FIELDS])
def test_a_bad_field_is_named(member: Caller, model: Any, body: dict[str, Any], field: str) -> None:
    response = member.post("/api/infer", json.dumps(body))
    error = assert_refused(response, 400, "INVALID_INPUT")["error"]
    assert error["message"].startswith(f"{field}")
    assert error["details"][0]["field"].startswith(field)


@pytest.mark.parametrize("path", PATHS)
def test_every_door_refuses_alike(member: Caller, model: Any, path: str) -> None:
    assert_refused(member.post(path, {"text": 5}), 400, "INVALID_INPUT")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"5",
        b'{"text": "\xff\xfe"}',
        b'{"text": "a", "text": "b"}',
        b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"text": "hi", "max_tokens": ' + b"9" * 5000 + b"}",
        b'{"text": "\\ud800"}',
        b'{"messages": [{"role": "user", "content": "\\udfff"}]}',
    ],
    ids=range(12),
)
def test_a_body_that_is_no_clean_json_object_is_refused(
    member: Caller, model: Any, raw: bytes
) -> None:
    assert_refused(member.post("/api/infer", raw), 400, "INVALID_INPUT")


def test_another_media_type_is_refused(member: Caller) -> None:
    response = Client().post("/api/infer", {"text": "hi"}, headers=member.headers)
    assert_refused(response, 415, "UNSUPPORTED_MEDIA_TYPE")


def test_a_body_over_the_limit_is_refused(member: Caller) -> None:
    assert_refused(member.post("/api/infer", b" " * 2_000_000), 413, "CONTENT_TOO_LARGE")


def test_get_is_not_allowed(member: Caller) -> None:
    response = member.get("/api/infer")
    assert_refused(response, 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("name", ["nothing", "../etc", "SmolLM2", "a\n"])
def test_an_unknown_model_is_not_found(member: Caller, model: Any, name: str) -> None:
    response = member.post("/api/infer", {"text": "hi", "model": name})
    assert_refused(response, 404, "MODEL_NOT_FOUND")


def test_an_absent_model_is_not_found(member: Caller, model: Any) -> None:
    model.state = "absent"
    model.save()
    assert_refused(member.post("/api/infer", {"text": "hi"}), 404, "MODEL_NOT_FOUND")


def test_a_prompt_beyond_the_context_is_refused_with_the_numbers(
    member: Caller, model: Any
) -> None:
    response = member.post("/api/infer", {"text": "many words " * 5000})
    error = assert_refused(response, 400, "CONTEXT_LENGTH_EXCEEDED")["error"]
    assert error["details"]["prompt_tokens"] > 8192
    assert error["details"]["context_length"] == 8192


def test_prompt_and_answer_together_must_fit(member: Caller, model: Any) -> None:
    response = member.post("/api/infer", {"text": "hi", "max_tokens": 8190})
    assert_refused(response, 400, "CONTEXT_LENGTH_EXCEEDED")


def test_only_who_manages_models_may_go_first(member: Caller, model: Any) -> None:
    response = member.post("/api/infer", {"text": "hi", "priority": 1})
    assert_refused(response, 403, "PERMISSION_DENIED")


def test_a_missing_key_is_unauthenticated(db: None) -> None:
    response = Client().post("/api/infer", {"text": "hi"}, content_type="application/json")
    assert_refused(response, 401, "AUTHENTICATION_FAILED")
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("key", ["", "x", "lg_aaaaaaaa_" + "A" * 43, "ÿ"])
def test_an_unknown_key_is_unauthenticated(db: None, key: str) -> None:
    response = Client().post(
        "/api/infer",
        {"text": "hi"},
        content_type="application/json",
        headers={"X-API-Key": key},
    )
    assert_refused(response, 401, "AUTHENTICATION_FAILED")


def test_both_headers_carry_a_key(member: Caller) -> None:
    assert Client().get("/api/models", headers={"X-API-Key": member.key}).status_code == 200
    assert member.get("/api/models").status_code == 200


@pytest.mark.parametrize("name", ["api_key", "key", "anything"])
def test_a_key_in_the_address_is_refused(member: Caller, name: str) -> None:
    response = Client().post(
        f"/api/infer?{name}={member.key}", {"text": "hi"}, content_type="application/json"
    )
    assert_refused(response, 401, "AUTHENTICATION_FAILED")


def test_a_wrong_key_never_falls_back_to_the_session(admin: Caller) -> None:
    client = Client()
    client.force_login(admin.user)
    assert client.get("/api/models").status_code == 200
    refused = client.get("/api/models", headers={"X-API-Key": "wrong"})
    assert refused.status_code == 401


def test_a_session_needs_the_form_token(admin: Caller) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin.user)
    response = client.post("/api/infer", {"text": "hi"}, content_type="application/json")
    assert_refused(response, 403, "PERMISSION_DENIED")


@pytest.mark.parametrize("path", PATHS)
def test_a_guest_may_not_infer(guest: Caller, model: Any, path: str) -> None:
    assert_refused(guest.post(path, {"text": "hi"}), 403, "PERMISSION_DENIED")


def test_a_key_without_the_scope_may_not_infer(db: None, model: Any) -> None:
    caller = make_caller("user", scopes=("models:read",))
    assert_refused(caller.post("/api/infer", {"text": "hi"}), 403, "PERMISSION_DENIED")
    assert caller.get("/api/models").status_code == 200


@pytest.mark.parametrize("path", PATHS)
def test_without_a_worker_nothing_is_queued(
    member: Caller, model: Any, redis_client: Any, path: str
) -> None:
    redis_client.flushall()
    response = member.post(path, {"text": "hi"})
    assert_refused(response, 503, "NO_WORKER")
    assert int(response["Retry-After"]) > 0


def test_a_full_queue_says_when_to_come_again(
    member: Caller, model: Any, redis_client: Any
) -> None:
    redis_client.rpush("lg:inference", *["x"] * 256)
    response = member.post("/api/infer", {"text": "hi"})
    assert json.loads(response.content)["error"]["code"] == "QUEUE_FULL"
    assert response.status_code == 429
    assert int(response["Retry-After"]) > 0
    assert not InferenceJob.objects.exists()


def test_streams_and_plain_answers_have_their_own_doors(member: Caller, model: Any) -> None:
    assert_refused(member.post("/api/infer", {"text": "a", "stream": True}), 400, "INVALID_INPUT")
    refused = member.post("/api/stream_infer", {"text": "a", "stream": False})
    assert_refused(refused, 400, "INVALID_INPUT")


def test_an_error_of_the_stream_door_is_json_even_for_an_event_stream_client(
    member: Caller, model: Any
) -> None:
    response = Client().post(
        "/api/stream_infer",
        {"text": 5},
        content_type="application/json",
        headers=member.headers | {"Accept": "text/event-stream"},
    )
    assert_refused(response, 400, "INVALID_INPUT")


def test_an_offered_request_id_is_kept_when_harmless(member: Caller) -> None:
    kept = Client().get("/livez", headers={"X-Request-ID": "my-id.1"})
    assert kept["X-Request-ID"] == "my-id.1"
    replaced = Client().get("/livez", headers={"X-Request-ID": "a b<script>"})
    assert replaced["X-Request-ID"].startswith("req_")
