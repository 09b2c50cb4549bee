"""Every field of every call that makes work, given what it is not: 400 that names it, and no job."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.services.limits import set_limits
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from tests.conftest import MODEL, Caller

CHAT, PLAIN, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"
INFER, STREAM, BATCH = "/api/infer", "/api/stream_infer", "/api/batch_infer"
EMBED = "/v1/embeddings"
NATIVE, OPENAI = (INFER, STREAM, BATCH), (CHAT, PLAIN)
HI = [{"role": "user", "content": "hi"}]
#: The least that each door answers.
LEAST: dict[str, dict[str, Any]] = {
    INFER: {"text": "hi"},
    STREAM: {"text": "hi"},
    BATCH: {"inputs": ["hi"], "async": True},
    CHAT: {"model": MODEL, "messages": HI},
    PLAIN: {"model": MODEL, "prompt": "hi"},
    RESPONSES: {"model": MODEL, "input": "hi"},
    EMBED: {"model": MODEL, "input": "hi"},
}
NAN, INF, HUGE = float("nan"), float("inf"), 10**400
NO_NUMBER: list[Any] = ["5", "", True, [], [1], {}, {"a": 1}, NAN, INF, -INF]
NO_WHOLE: list[Any] = [*NO_NUMBER, 1.5, HUGE, -HUGE]
NO_TEXT: list[Any] = [5, 1.5, True, [], ["a"], {}, {"a": 1}, NAN, "", "a\u0000b", "\ud800"]
NO_FLAG: list[Any] = ["true", "", 1, 0, [], [True], {}, NAN]
NO_OBJECT: list[Any] = ["x", "", 5, True, [], [{}], NAN]
NO_LIST: list[Any] = [5, True, {}, {"a": 1}, NAN, [5], [None], [[]], [{}], [True]]
#: (field, doors, what it is not). A null is refused only where `/api` is asked: `/v1` takes it as nothing.
FIELDS: list[tuple[str, tuple[str, ...], list[Any]]] = [
    ("text", (INFER, STREAM), [None, *NO_TEXT]),
    ("messages", (CHAT,), [None, "hi", *NO_LIST, [], HI * 10_000]),
    ("messages", (INFER, STREAM), [None, "hi", *NO_LIST, []]),
    ("inputs", (BATCH,), [None, "hi", 5, True, {}, NAN, [], ["a"] * 10_000]),
    ("prompt", (PLAIN,), [None, "", True, 1.5, {}, NAN, [], [None], [{}], [""], ["a"] * 10_000,
                          ["a", 1], [1.5], [[1], ["a"]], [-1], [2**31], "a\u0000b", "\ud800"]),
    ("input", (RESPONSES, EMBED), [None, "", 5, True, {}, NAN, [], [None], "a\u0000b", "\ud800"]),
    ("input", (EMBED,), [["a"] * 10_000, ["a", 1], [1.5], [[]]]),
    ("input", (RESPONSES,), [[{"role": "user", "content": "x"}] * 10_000, [5], [{}], [[]]]),
    ("model", (*NATIVE, *OPENAI, RESPONSES, EMBED), [None, *NO_TEXT, "x" * 129]),
    ("max_tokens", NATIVE, [None, *NO_WHOLE, 0, -1, 10**9]),
    ("max_tokens", OPENAI, [*NO_WHOLE, -1, 10**9]),
    ("max_completion_tokens", (CHAT,), [*NO_WHOLE, 0, -1, 10**9]),
    ("max_output_tokens", (RESPONSES,), [*NO_WHOLE, 0, -1, 10**9]),
    ("temperature", NATIVE, [None, *NO_NUMBER, HUGE, -0.1, 2.1]),
    ("temperature", (*OPENAI, RESPONSES), [*NO_NUMBER, HUGE, -0.1, 2.1]),
    ("top_p", (*NATIVE, *OPENAI, RESPONSES), [*NO_NUMBER, HUGE, 0, -0.1, 1.1]),
    ("top_k", (*NATIVE, *OPENAI), [*NO_WHOLE, -1, 10**7]),
    ("min_p", (*NATIVE, *OPENAI), [*NO_NUMBER, HUGE, -0.1, 1.1]),
    ("repetition_penalty", (*NATIVE, *OPENAI), [*NO_NUMBER, HUGE, 0, -1, 11]),
    ("presence_penalty", (*NATIVE, *OPENAI), [*NO_NUMBER, HUGE, -2.1, 2.1]),
    ("frequency_penalty", (*NATIVE, *OPENAI), [*NO_NUMBER, HUGE, -2.1, 2.1]),
    ("stop", NATIVE, [None]),
    ("stop", (*NATIVE, *OPENAI), ["", 5, True, {}, NAN, [5], [None], [[]], [""], ["x" * 257],
                                  ["a\u0000"], ["\ud800"], ["x"] * 9, ["x"] * 1000]),
    ("seed", (*NATIVE, *OPENAI), [*NO_WHOLE, 2**63]),
    ("seed", NATIVE, [-1]),
    ("logprobs", (INFER, STREAM, PLAIN), [*NO_WHOLE, -1, 21]),
    ("logprobs", (BATCH,), [1, True]),
    ("logprobs", (CHAT,), NO_FLAG),
    ("top_logprobs", (CHAT,), [*NO_WHOLE, -1, 21]),
    ("min_tokens", (*NATIVE, *OPENAI), [*NO_WHOLE, -1, 10**9]),
    ("ignore_eos", (*NATIVE, *OPENAI), NO_FLAG),
    ("logit_bias", (*NATIVE, *OPENAI), ["x", 5, True, [], {"a": 1}, {"5": None}, {"5": INF},
                                        {"5": "1"}, {"5": 101}, {str(i): 1 for i in range(2000)}]),
    ("response_format", (*NATIVE, CHAT), [*NO_OBJECT, {}, {"type": None}, {"type": "regex"},
                                          {"type": "json_schema", "json_schema": {"name": "a"}}]),
    ("priority", (INFER, STREAM), [None, *NO_WHOLE, 101, -101]),
    ("priority", (BATCH,), [None, *NO_WHOLE, 1, -101]),
    ("timeout", NATIVE, [None, *NO_NUMBER, HUGE, 0, -1, 10**6]),
    ("resumable", (INFER, STREAM), [None, *NO_FLAG]),
    ("async", (BATCH,), [None, *NO_FLAG]),
    ("stream", (INFER, STREAM, CHAT, PLAIN, RESPONSES), NO_FLAG),
    ("stream_options", OPENAI, [*NO_OBJECT, {"include_usage": 1}, {"x": True}]),
    ("n", OPENAI, [*NO_WHOLE, 0, -1, 17, 10_000]),
    ("echo", (PLAIN,), NO_FLAG),
    ("user", (*OPENAI, RESPONSES, EMBED), [*NO_TEXT, "x" * 129]),
    ("tools", (CHAT, RESPONSES), ["x", 5, True, {}, [5], [None], [[]], [{}], [{"type": "x"}]]),
    ("tool_choice", (CHAT, RESPONSES), ["often", "", 5, True, [], {}, {"type": "function"},
                                        {"type": [], "function": {}}, "required"]),
    ("instructions", (RESPONSES,), [5, True, [], {}, NAN, "a\u0000", "\ud800"]),
    ("previous_response_id", (RESPONSES,), [5, True, [], {}, "", "a\u0000", "x" * 65]),
    ("store", (RESPONSES,), NO_FLAG),
    ("text", (RESPONSES,), [*NO_OBJECT, {"format": 5}, {"format": {"type": "x"}}, {"x": 1}]),
    ("encoding_format", (EMBED,), ["x", "", 5, True, [], {}]),
    ("dimensions", (EMBED,), [1, 0, -1, "5", True, 1.5]),
    ("unheard_of", (*NATIVE, *OPENAI, RESPONSES, EMBED), [1, None, "x", [], {}]),
]  # fmt: skip
DOORS = [
    pytest.param(door, name, bad, id=f"{door} {name}-{number}")
    for number, (name, doors, bad) in enumerate(FIELDS)
    for door in doors
]


@pytest.fixture
def caller(member: Caller, redis_client: Any) -> Iterator[Caller]:
    """Whom no rate keeps from being refused for better reasons."""
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))
    for key in redis_client.scan_iter("lg:worker:*"):
        assert redis_client.persist(key)  # on a busy machine a test outlasts a worker's report
    subject = f"user:{member.user.username}"
    set_limits(actor=None, subject=subject, inference_per_minute=-1, batch_per_minute=-1)
    yield member


def named_by(door: str, error: dict[str, Any]) -> str:
    """The field that an error is about."""
    if door.startswith("/v1"):
        return str(error["param"])
    return str((error["details"] or [{"field": ""}])[0]["field"])


@pytest.mark.parametrize(("door", "name", "bad"), DOORS)
def test_what_a_field_is_not_is_refused_by_its_name(
    caller: Caller, model: Any, door: str, name: str, bad: list[Any]
) -> None:
    body = dict(LEAST[door])
    if name == "messages":
        body.pop("text", None)
    for value in bad:
        response = caller.post(door, json.dumps({**body, name: value}))
        shown = f"{name}={str(value)[:60]}: {response.content[:300]!r}"
        assert response.status_code == 400, shown
        error = json.loads(response.content)["error"]
        assert error["code"].upper() == "INVALID_INPUT", shown
        assert named_by(door, error).startswith(name), shown
        assert len(response.content) < 5000, shown
    assert not InferenceJob.objects.exists()


BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "a list": b"[]",
    "a word": b"null",
    "not UTF-8": b'{"text": "\xff\xfe"}',
    "UTF-16": '{"text": "hi"}'.encode("utf-16"),
    "two of one name": b'{"model": "a", "model": "b"}',
    "100,000 lists": b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "100,000 objects": b'{"text": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    "a thousand levels": b'{"response_format": ' + b"[" * 1000 + b"]" * 1000 + b"}",
    "lists without an end": b"[" * 200_000,
    "a million digits": b'{"max_tokens": ' + b"9" * 1_000_000 + b"}",
    "a million digits behind the point": b'{"temperature": 0.' + b"1" * 100_000 + b'e999999999, "x": 1}',
    "a lone surrogate as a name": b'{"\\ud800": 1}',
    "NUL as a name": b'{"a\\u0000b": 1}',
    "30,000 names": json.dumps({f"x{i}": 1 for i in range(30_000)}).encode(),
}  # fmt: skip


@pytest.mark.parametrize("door", LEAST)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_body_that_is_no_clean_object_is_refused_at_every_door(
    caller: Caller, model: Any, door: str, body: bytes
) -> None:
    began = time.process_time()
    response = caller.post(door, body)
    assert response.status_code == 400, response.content[:300]
    json.loads(response.content)
    assert len(response.content) < 10_000
    assert not InferenceJob.objects.exists()
    assert (
        time.process_time() - began < 30
    )  # a bound on what one body may cost, far from what it does


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("100,000 lists", "The body is nested deeper than 64 levels."),
        ("a thousand levels", "The body is nested deeper than 64 levels."),
        ("a million digits", "The body holds a number of too many digits."),
        (
            "two of one name",
            "The body is not valid JSON: the key 'model' stands twice in one object",
        ),
        ("not UTF-8", "The body is not valid UTF-8 (byte 10)."),
    ],
)
def test_what_is_wrong_with_a_body_is_said_plainly(
    caller: Caller, model: Any, name: str, said: str
) -> None:
    assert caller.post(INFER, BODIES[name]).json()["error"]["message"] == said


WORDS = ["\ud800", "x" * 900_000, "\u0000", "\U0001f999", "\u202e", "<script>"]


@pytest.mark.parametrize("word", WORDS, ids=range(len(WORDS)))
def test_a_refusal_repeats_no_word_that_it_cannot_carry(
    caller: Caller, model: Any, word: str
) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        (INFER, {"text": "hi", word: 1}),
        (INFER, {"messages": [{"role": word, "content": "x"}]}),
        (INFER, {"messages": [{"role": "user", "content": "x", word: 1}]}),
        (INFER, {"text": "hi", "response_format": {"type": word}}),
        (INFER, {"text": "hi", "logit_bias": {word: 1}}),
        (BATCH, {"inputs": [{"id": word * 129, "text": "hi"}]}),
        (CHAT, {"model": MODEL, "messages": [{"role": word, "content": "x"}]}),
        (CHAT, {"model": MODEL, "messages": HI, "tool_choice": word}),
        (CHAT, {"model": MODEL, "messages": HI, "stream": True, "stream_options": {word: True}}),
        (CHAT, {"model": MODEL, "messages": [{"role": "user", "content": [{"type": word}]}]}),
        (RESPONSES, {"model": MODEL, "input": [{"type": word}]}),
        (EMBED, {"model": MODEL, "input": "hi", "encoding_format": word}),
    ]
    for door, body in calls:
        response = caller.post(door, json.dumps(body))
        shown = f"{door} {str(body)[:100]}: {response.content[:300]!r}"
        assert response.status_code in (400, 413), shown
        json.loads(response.content)
        assert len(response.content) < 5000, shown
    assert not InferenceJob.objects.exists()


@pytest.mark.parametrize("door", LEAST)
def test_other_types_and_sizes_are_refused_at_every_door(
    caller: Caller, model: Any, door: str
) -> None:
    from django.test import Client

    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "nonsense"):
        response = Client().post(
            door, json.dumps(LEAST[door]), content_type=kind, headers=caller.headers
        )
        assert response.status_code == 415, (kind, response.content)
    assert caller.post(door, b" " * 2_000_000).status_code == 413
    assert not InferenceJob.objects.exists()
