"""A call sent twice with one key, at every door that makes work: it runs and costs once."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from accounts.services.limits import set_limits
from inference.models import Batch, IdempotentCall, InferenceJob
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import MODEL, Caller, make_caller
from tests.inference.idempotency.conftest import Answer, InstantWorker, Spent, send

HI = {"role": "user", "content": "hi"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}
CHOICE = {"type": "function", "function": {"name": "f"}}
CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("/api/infer", {"text": "hi", "logprobs": 1}),
    ("/api/stream_infer", {"text": "hi"}),
    ("/api/stream_infer", {"text": "hi", "logprobs": 1, "resumable": True}),
    ("/api/batch_infer", {"inputs": ["a", "b", {"text": ""}]}),
    (CHAT, {"messages": [HI]}),
    (CHAT, {"messages": [HI], "n": 2, "logprobs": True, "top_logprobs": 1}),
    (CHAT, {"messages": [HI], "stream": True, "stream_options": {"include_usage": True}}),
    (CHAT, {"messages": [HI], "tools": [TOOL], "tool_choice": CHOICE}),
    (CHAT, {"messages": [HI], "tools": [TOOL], "tool_choice": CHOICE, "stream": True}),
    (PLAIN, {"prompt": "hi", "logprobs": 1, "echo": False}),
    (PLAIN, {"prompt": ["a", "b"], "n": 2}),
    (PLAIN, {"prompt": ["a", "b"], "stream": True}),
    ("/v1/responses", {"input": "hi", "store": False}),
    ("/v1/responses", {"input": "hi", "stream": True, "store": False}),
    ("/v1/embeddings", {"input": ["a", "b"]}),
]
#: What tells of the call itself, not of its answer.
_OWN = re.compile(
    r'"(request_id|timestamp|processing_time|total_processing_time)": ("[^"]*"|[\d.e-]+)'
)


def with_model(path: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"model": MODEL, **body}


def said(answer: Answer) -> str:
    return _OWN.sub("", answer.text)


def put_together(answer: Answer) -> list[str]:
    """The texts of a stream by their places, as a client gathers them from its pieces."""
    texts: dict[int, str] = {}
    for line in answer.text.splitlines():
        if not line.startswith("data: {"):
            continue
        data = json.loads(line.removeprefix("data: "))
        for choice in data.get("choices", []):
            delta = choice.get("delta", choice)
            calls = "".join(
                call.get("id", "") + call["function"]["arguments"]
                for call in delta.get("tool_calls", [])
            )
            text = (delta.get("content") or delta.get("text") or "") + calls
            texts[choice["index"]] = texts.get(choice["index"], "") + text
        pieces = data.get("token", "") + str(data.get("delta", ""))
        texts[-1] = texts.get(-1, "") + pieces
    return [texts[place] for place in sorted(texts)]


@pytest.mark.parametrize(("path", "body"), CALLS, ids=[f"{p} {str(b)[:70]}" for p, b in CALLS])
def test_the_second_call_gets_the_first_ones_answer(
    member: Caller, worker: InstantWorker, spent: Spent, path: str, body: dict[str, Any]
) -> None:
    first = send(member, path, with_model(path, body))
    assert first.status == 200, first.text
    assert not first.is_replayed
    num_rung, cost = len(worker.rung), spent()
    assert cost > 0
    again = send(member, path, with_model(path, body))
    assert again.status == 200, again.text
    assert again.is_replayed
    assert said(again) == said(first)
    assert (len(worker.rung), spent()) == (num_rung, cost)
    other = send(member, path, with_model(path, body), key="k2")
    assert not other.is_replayed
    assert said(other) != said(first)


@pytest.mark.parametrize(("path", "body"), CALLS, ids=[f"{p} {str(b)[:70]}" for p, b in CALLS])
def test_it_gets_it_from_the_rows_once_the_streams_are_gone(
    member: Caller, worker: InstantWorker, path: str, body: dict[str, Any]
) -> None:
    first = send(member, path, with_model(path, body))
    worker.forget_streams()
    again = send(member, path, with_model(path, body))
    assert (again.status, again.is_replayed) == (200, True)
    assert put_together(again) == put_together(first)
    if "data: " not in first.text:
        assert said(again) == said(first)
    for logprob in ('"logprob": -0.5', '"token_logprobs": [-0.5'):
        assert (logprob in again.text) == (logprob in first.text)
    assert len(worker.rung) == InferenceJob.objects.count()


def test_a_batch_that_nobody_waits_for_is_the_same_batch(
    member: Caller, worker: InstantWorker
) -> None:
    body = {"inputs": ["a", "b"], "async": True}
    first = send(member, "/api/batch_infer", body)
    again = send(member, "/api/batch_infer", body)
    assert (first.status, again.status) == (202, 202)
    assert again.is_replayed
    assert again.body["batch_id"] == first.body["batch_id"]
    assert again.body["status_url"] == first.body["status_url"]
    assert Batch.objects.count() == 1
    assert InferenceJob.objects.count() == 2


def test_the_alias_and_another_spelling_are_the_same_call(
    member: Caller, worker: InstantWorker
) -> None:
    first = send(member, "/api/infer", b'{"text": "hi", "max_tokens": 5, "stop": ["x", "y"]}')
    again = send(member, "/api/v1/infer", b'{"max_tokens":5,\n"stop":["x","y"],"text":"h\\u0069"}')
    assert again.is_replayed
    assert again.body["metadata"]["job_id"] == first.body["metadata"]["job_id"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/infer", {"text": "ho"}),
        ("/api/infer", {"text": "hi", "max_tokens": 99}),
        ("/api/infer", {"text": "hi", "stop": []}),
        ("/api/stream_infer", {"text": "hi"}),
        ("/api/batch_infer", {"inputs": ["hi"]}),
        (CHAT, {"model": MODEL, "messages": [HI]}),
        (PLAIN, {"model": MODEL, "prompt": ["a", "b"]}),
    ],
)
def test_another_call_under_the_same_key_is_a_conflict(
    member: Caller, worker: InstantWorker, path: str, body: dict[str, Any]
) -> None:
    send(member, "/api/infer", {"text": "hi"})
    refused = send(member, path, body)
    assert refused.status == 409
    error = refused.body["error"]
    assert error["code"].upper() == "CONFLICT"
    assert error["message"].startswith("Idempotency-Key: This key was used for another call")
    assert not refused.is_replayed
    assert InferenceJob.objects.count() == 1


def test_keys_are_each_owners_own(member: Caller, admin: Caller, worker: InstantWorker) -> None:
    mine = send(member, "/api/infer", {"text": "hi"})
    theirs = send(admin, "/api/infer", {"text": "hi"})
    assert not theirs.is_replayed
    assert theirs.body["metadata"]["job_id"] != mine.body["metadata"]["job_id"]
    conflicting = send(admin, "/api/infer", {"text": "what the member said is not found out"})
    assert conflicting.status == 409


def test_another_api_key_of_the_owner_finds_the_same_call(
    member: Caller, worker: InstantWorker
) -> None:
    from accounts.services.api_keys import create_api_key

    send(member, "/api/infer", {"text": "hi"})
    _, second = create_api_key(actor=None, user=member.user, name="second")
    assert send(Caller(member.user, str(second)), "/api/infer", {"text": "hi"}).is_replayed
    _, narrow = create_api_key(actor=None, user=member.user, name="narrow", scopes=("models:read",))
    refused = send(Caller(member.user, str(narrow)), "/api/infer", {"text": "hi"})
    assert (refused.status, refused.is_replayed) == (403, False)


@pytest.mark.parametrize("path", ["/api/infer", "/api/stream_infer", CHAT, "/api/batch_infer"])
@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "\u00e9", "a\tb", "\x7f"])
def test_a_malformed_key_is_refused_by_name(
    member: Caller, worker: InstantWorker, path: str, key: str
) -> None:
    refused = send(member, path, {"text": "hi", "messages": [HI], "inputs": ["a"]}, key=key)
    assert refused.status == 400
    if key.strip():  # a blank one is no header to the server's mind, or is one that is empty
        assert not InferenceJob.objects.exists()


@pytest.mark.parametrize(
    "key", ["!", "~" * 255, 'a,b;c="d"', "123e4567-e89b-12d3-a456-426614174000"]
)
def test_any_visible_characters_make_a_key(member: Caller, worker: InstantWorker, key: str) -> None:
    assert send(member, "/api/infer", {"text": "hi"}, key=key).status == 200
    assert send(member, "/api/infer", {"text": "hi"}, key=key).is_replayed


@pytest.mark.parametrize(
    "code", [ErrorCode.INFERENCE_FAILED, ErrorCode.CANCELLED, ErrorCode.DEADLINE_EXCEEDED,
             ErrorCode.INVALID_INPUT, ErrorCode.CONTEXT_LENGTH_EXCEEDED, ErrorCode.MODEL_LOAD_FAILED]
)  # fmt: skip
@pytest.mark.parametrize("is_kept", [True, False], ids=["from the stream", "from the row"])
def test_a_job_that_failed_is_the_answer_too(
    member: Caller, worker: InstantWorker, code: ErrorCode, is_kept: bool
) -> None:
    worker.error = code
    first = send(member, "/api/infer", {"text": "hi"})
    worker.error = None
    if not is_kept:
        worker.forget_streams()
    again = send(member, "/api/infer", {"text": "hi"})
    assert first.status == again.status == code.http_status
    assert again.is_replayed
    assert again.body["error"] == first.body["error"]
    assert len(worker.rung) == 1


@pytest.mark.parametrize(
    "code",
    [ErrorCode.NO_WORKER, ErrorCode.BACKEND_UNAVAILABLE, ErrorCode.INSUFFICIENT_MEMORY,
     ErrorCode.QUEUE_FULL],
)  # fmt: skip
def test_an_error_that_asks_to_come_again_leaves_the_key_free(
    member: Caller, worker: InstantWorker, code: ErrorCode
) -> None:
    worker.error = code
    assert send(member, "/api/infer", {"text": "hi"}).status == code.http_status
    worker.error = None
    again = send(member, "/api/infer", {"text": "hi"})
    assert (again.status, again.is_replayed) == (200, False)
    assert send(member, "/api/infer", {"text": "hi"}).is_replayed
    assert len(worker.rung) == 2


def test_what_is_refused_before_it_was_a_job_may_be_tried_again(
    member: Caller, worker: InstantWorker, redis_client: Any
) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=1)
    for path, body in (("/api/infer", {"text": "hi"}), ("/api/batch_infer", {"inputs": ["hi"]})):
        assert send(member, path, body).status == 429
    assert not IdempotentCall.objects.exists()
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=-1)
    assert send(member, "/api/infer", {"text": "hi"}).status == 200


def test_what_is_there_is_answered_whatever_the_limits_say_now(
    member: Caller, worker: InstantWorker, redis_client: Any
) -> None:
    first = send(member, "/api/infer", {"text": "hi"})
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=1)
    redis_client.delete(*redis_client.keys("lg:worker*"))
    again = send(member, "/api/infer", {"text": "hi"})
    assert (again.status, again.is_replayed) == (200, True)
    assert again.body["result"] == first.body["result"]


def test_a_guest_gets_no_answer_by_a_key(worker: InstantWorker) -> None:
    caller = make_caller("guest")
    assert send(caller, "/api/infer", {"text": "hi"}).status == 403
