"""`/v1/responses`: what is refused, what a call becomes, and the events of its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse

from inference import wire
from inference.models import InferenceJob
from inference.openai_api import answers
from inference.openai_api.response_shape import ResponseAnswer
from inference.openai_api.tool_fields import ToolMode, ToolUse
from inference.presence import WorkerReport, announce
from inference.protocol import (
    ChatMessage,
    DoneEvent,
    ErrorEvent,
    FinishReason,
    Prompt,
    SamplingParams,
    Timings,
    TokenEvent,
    ToolCall,
    Usage,
)
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import MODEL, Caller
from tests.inference.openai_api.test_answers import Stream, done, request, streams
from tests.inference.openai_api.test_refusals import refused

__all__ = ["streams"]

FLAT = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CALLED = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}", "id": "fc"}
FORM = {"format": {"type": "json_object"}}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["x"]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type"),
    ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].type"),
    ({"input": [{"type": "function_call", "call_id": "a"}]}, "input[0]"),
    ({"input": "x" * 200_001}, "input"),
    ({"instructions": 5}, "instructions"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 10**9}, "max_output_tokens"),
    ({"top_p": 0}, "top_p"),
    ({"store": "yes"}, "store"),
    ({"previous_response_id": 5}, "previous_response_id"),
    ({"previous_response_id": ""}, "previous_response_id"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
    ({"text": {"format": {"type": "text", "name": "x"}}}, "text.format.name"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [FLAT], "tool_choice": "auto"}, "tool_choice"),
    ({"tools": [FLAT], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
    ({"tools": [FLAT], "tool_choice": "required", "text": FORM}, "text"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [FLAT], "tool_choice": []}, "tool_choice"),
    *[({name: "x"}, name) for name in (
        "conversation", "background", "include", "metadata", "reasoning",
        "truncation", "prompt", "max_tool_calls", "service_tier", "parallel_tool_calls",
        "top_logprobs", "n", "messages",
    )],
]  # fmt: skip


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any) -> None:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))


def send(caller: Caller, **fields: Any) -> Any:
    return caller.post("/v1/responses", json.dumps({"model": MODEL, "input": "hi", **fields}))


@pytest.mark.parametrize(("fields", "param"), BAD, ids=[str(f)[:50] for f, _ in BAD])
def test_a_bad_field_is_named(
    member: Caller, model: Any, fields: dict[str, Any], param: str
) -> None:
    assert refused(send(member, **fields), 400)["param"].startswith(param)


def test_items_become_turns(member: Caller, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give(request: Any, submitted: Any, answer: Any) -> HttpResponse:
        return HttpResponse("{}")

    monkeypatch.setattr(answers, "collect", give)
    said = {"type": "output_text", "text": "Let me see.", "annotations": []}
    response = send(
        member,
        instructions="Be brief.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "Warm?"}]},
            {"type": "message", "id": "m", "role": "assistant", "status": "completed",
             "content": [said]},
            CALLED,
            {"type": "function_call_output", "call_id": "a", "output": "dry"},
        ],
        max_output_tokens=9, temperature=0, tools=[FLAT], tool_choice="required", user="u",
    )  # fmt: skip
    assert response.status_code == 200, response.content
    job = InferenceJob.objects.get()
    prompt = wire.from_builtins(Prompt, job.prompt)
    assert prompt.messages == (
        ChatMessage("system", "Be brief."),
        ChatMessage("user", "Warm?"),
        ChatMessage("assistant", "Let me see.", tool_calls=(ToolCall("a", "weather", "{}"),)),
        ChatMessage("tool", "dry", tool_call_id="a"),
    )
    assert prompt.tools == (WEATHER,)
    params = wire.from_builtins(SamplingParams, job.params)
    assert params.grammar is not None
    assert (params.max_tokens, params.temperature, job.end_user) == (9, 0.0, "u")


def answer_of(use: ToolUse | None = None) -> ResponseAnswer:
    return ResponseAnswer({"model": "m"}, use or ToolUse())


async def events(stream: Stream, answer: ResponseAnswer) -> list[dict[str, Any]]:
    response: Any = await answers.stream(request(), stream.submitted, answer)
    text = b"".join([part async for part in response]).decode()
    found = []
    for frame in text.strip().split("\n\n"):
        name, data = frame.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    return found


async def test_the_events_build_up_the_answer(streams: Any) -> None:
    stream = streams()
    stream.say(TokenEvent("Hel", 0), TokenEvent("lo", 1), done("Hello"))
    found = await events(stream, answer_of())
    assert [event["type"].removeprefix("response.") for event in found] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    last = found[-1]["response"]
    (message,) = last["output"]
    assert message["content"][0]["text"] == "Hello"
    assert message["id"] == found[2]["item"]["id"] == found[4]["item_id"]
    assert (last["status"], last["store"]) == ("completed", False)
    assert last["usage"]["total_tokens"] == 5
    whole: Any = await answers.collect(request(), stream.submitted, answer_of())
    body = json.loads(whole.content)
    assert body == last


async def test_text_and_calls_are_items_of_their_own(streams: Any) -> None:
    stream = streams()
    call = '<tool_call>{"name": "weather", "arguments": {"city": "Rome"}}</tool_call>'
    stream.say(TokenEvent(f"Let me see. {call}", 9), done(f"Let me see. {call}"))
    found = await events(stream, answer_of(ToolUse(ToolMode.FREE, (WEATHER,))))
    message, called = found[-1]["response"]["output"]
    assert message["content"][0]["text"] == "Let me see."
    assert (called["type"], called["name"]) == ("function_call", "weather")
    assert json.loads(called["arguments"]) == {"city": "Rome"}
    deltas = [e["delta"] for e in found if e["type"].endswith("arguments.delta")]
    assert "".join(deltas) == called["arguments"]
    assert [e["output_index"] for e in found if e["type"].endswith("item.done")] == [0, 1]


async def test_an_answer_that_was_cut_off_is_incomplete(streams: Any) -> None:
    stream = streams()
    timings = Timings(0.0, 0.0, 0.0)
    stream.say(DoneEvent("", FinishReason.LENGTH, Usage(1, 1), timings, "m", "cpu"))
    found = await events(stream, answer_of())
    last = found[-1]["response"]
    assert found[-1]["type"] == "response.incomplete"
    assert last["incomplete_details"] == {"reason": "max_output_tokens"}
    assert len(last["output"]) == 1


async def test_what_breaks_off_says_why(streams: Any) -> None:
    stream = streams()
    stream.say(TokenEvent("x", 0), ErrorEvent(ErrorCode.INFERENCE_FAILED, "it died"))
    last = (await events(stream, answer_of()))[-1]
    assert (last["type"], last["code"], last["message"]) == ("error", "inference_failed", "it died")
