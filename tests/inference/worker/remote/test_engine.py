"""An upstream behind the driver that stands in for an engine process: what goes over, what comes back."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from inference.protocol import (
    ChatMessage,
    Delta,
    Finished,
    FinishReason,
    Grammar,
    GrammarKind,
    Prompt,
    Started,
    TokenLogprob,
    ToolCall,
    Usage,
)
from llamagpu.lib.error_codes import ErrorCode
from tests.fake_upstream import (
    MODEL,
    FakeUpstream,
    say,
    send,
    status,
)
from tests.inference.worker.remote.conftest import (
    KEY,
    MakeEngine,
    answer,
    text_of,
)

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_an_answer_is_streamed_and_counted_by_the_upstream(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(say("one ", "two"))
    started, first, second, last = answer(make_engine())
    assert isinstance(started, Started)
    assert (first, second) == (Delta("job.1", "one ", 1), Delta("job.1", "two", 2))
    assert isinstance(last, Finished)
    assert (last.text, last.finish_reason) == ("one two", FinishReason.STOP)
    assert last.usage == Usage(7, 2, 3)
    assert 0 < last.timings.ttft <= last.timings.inference_time
    (asked,) = upstream.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_parameters_go_over_where_they_were_set(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    answer(
        make_engine(),
        temperature=0.0, top_k=5, min_p=0.1, seed=3, stop=("END",), logit_bias=((7, -2.0),),
        presence_penalty=0.5, min_tokens=2, ignore_eos=True, repetition_penalty=1.2, max_tokens=9,
    )  # fmt: skip
    body = upstream.asked[0].body
    expected = {"temperature": 0.0, "top_k": 5, "min_p": 0.1, "seed": 3, "stop": ["END"]}
    expected |= {"logit_bias": {"7": -2.0}, "presence_penalty": 0.5, "min_tokens": 2}
    expected |= {"ignore_eos": True, "repetition_penalty": 1.2, "max_tokens": 9}
    assert {name: body[name] for name in expected} == expected


def test_an_answer_that_may_take_all_that_is_left_is_not_bounded_by_us(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    answer(make_engine(), max_tokens=1000)
    assert "max_tokens" not in upstream.asked[0].body


def test_a_bound_that_nobody_chose_gives_way_to_the_context(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    """The longest answer that the server allows does not fit behind this prompt; a shorter one does."""
    driver = make_engine()
    too_long = status(400, {"error": {"code": "context_length_exceeded"}})
    upstream.will(too_long, say("short"))
    assert answer(driver, max_tokens=500)[-1].text == "short"
    assert [asked.body.get("max_tokens") for asked in upstream.asked] == [500, None]
    upstream.will(too_long)
    assert answer(driver, max_tokens=499)[-1].code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert len(upstream.asked) == 3
    assert answer(driver, max_tokens=500)[-1].code is ErrorCode.CONTEXT_LENGTH_EXCEEDED
    assert len(upstream.asked) == 5


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        (Prompt(text="Once", is_raw=True), "Once"),
        (Prompt(token_ids=(1, 2, 3)), [1, 2, 3]),
    ],
)
def test_plain_text_and_token_ids_are_completed(
    upstream: FakeUpstream, make_engine: MakeEngine, prompt: Prompt, sent: Any
) -> None:
    upstream.will(say("upon"))
    assert text_of(answer(make_engine(), prompt=prompt)) == "upon"
    assert upstream.asked[0].path == "/v1/completions"
    assert upstream.asked[0].body["prompt"] == sent


def test_several_answers_keep_apart(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.will(say("a", "b", reason="length"))
    events = answer(make_engine(), n=2)
    last = events[-1]
    assert [choice.text for choice in last.choices] == ["ab", "ab"]
    assert last.finish_reason is FinishReason.LENGTH
    assert last.usage.completion_tokens == 4


def test_log_probabilities_come_in_either_form(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    top = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]
    content = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": top}]}
    plain = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -1.5}]}
    expected = (TokenLogprob("a", -0.5, (("a", -0.5), ("b", -1.5))),)
    driver = make_engine()
    ends = {"index": 0, "finish_reason": "stop"}
    upstream.will(
        send({"choices": [{**ends, "delta": {"content": "a"}, "logprobs": content}]}),
        send({"choices": [{**ends, "text": "a", "logprobs": plain}]}),
    )
    assert answer(driver, logprobs=2)[-1].logprobs == expected
    assert upstream.asked[0].body["top_logprobs"] == 2
    prompt = Prompt(text="a", is_raw=True)
    assert answer(driver, logprobs=2, prompt=prompt)[-1].logprobs == expected
    assert upstream.asked[1].body["logprobs"] == 2


def test_calls_of_functions_become_the_text_that_a_model_would_have_written(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    def call(**function: str) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]}

    upstream.will(
        send(
            call(name="weather", arguments=""),
            call(arguments='{"in": "</tool'),
            call(arguments='_call>"}'),
            {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
        )
    )
    history = (
        ChatMessage("user", "Warm?"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("c1", "weather", "{}"),)),
        ChatMessage("tool", "20", tool_call_id="c1"),
    )
    prompt = Prompt(messages=history, tools=(WEATHER,))
    text = answer(make_engine(), prompt=prompt)[-1].text
    assert text.startswith("<tool_call>")
    assert text.count("</tool_call>") == 1
    told = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert told == {"name": "weather", "arguments": '{"in": "</tool_call>"}'}
    body = upstream.asked[0].body
    assert body["tools"] == [WEATHER]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == "weather"


def test_a_forced_call_is_a_form_and_the_functions_are_told_in_words(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    grammar = Grammar(GrammarKind.JSON_SCHEMA, '{"type": "object"}')
    prompt = Prompt(messages=(ChatMessage("user", "Warm?"),), tools=(WEATHER,))
    answer(make_engine(), prompt=prompt, grammar=grammar)
    body = upstream.asked[0].body
    assert "tools" not in body
    assert '"weather"' in body["messages"][0]["content"]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("capabilities", "fields", "named"),
    [
        ({"chat"}, {"logprobs": 1}, "logprobs: "),
        ({"chat"}, {"grammar": Grammar(GrammarKind.JSON_OBJECT)}, "response_format: "),
        ({"chat"}, {"prompt": Prompt(token_ids=(1,))}, "prompt: "),
        ({"completions"}, {}, "messages: "),
        ({"chat", "json_schema"}, {"grammar": Grammar(GrammarKind.REGEX, "a")}, "response_format"),
        ({"chat"}, {"prompt_logprobs": 1}, "prompt_logprobs: "),
        ({"chat"}, {"prompt": Prompt(inputs=(Prompt(text="a"),))}, "input: "),
    ],
)
def test_what_the_upstream_does_not_offer_is_refused_by_name_and_never_asked(
    upstream: FakeUpstream,
    make_engine: MakeEngine,
    capabilities: set[str],
    fields: Any,
    named: str,
) -> None:
    driver = make_engine(capabilities=frozenset(capabilities))
    (failed,) = answer(driver, **fields)
    assert failed.code is ErrorCode.INVALID_INPUT
    assert failed.message.startswith(named)
    assert upstream.asked == []


def test_an_upstream_that_counts_nothing_is_counted_by_its_chunks(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(say("a", "b", "c", usage=None))
    usage = answer(make_engine())[-1].usage
    assert usage.is_estimated
    assert usage.completion_tokens == 3
    assert usage.prompt_tokens > 0


@pytest.mark.parametrize("usage", [(-1, 2, 0), (1, 10**12, 0)])
def test_counts_that_cannot_be_are_not_believed(
    upstream: FakeUpstream, make_engine: MakeEngine, usage: Any
) -> None:
    upstream.will(say("a", usage=usage))
    counted = answer(make_engine())[-1].usage
    assert (counted.completion_tokens, counted.is_estimated) == (1, True)


def test_vectors_of_texts(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    data = [{"index": 1, "embedding": [0.0, -1.0]}, {"index": 0, "embedding": [0.5, 1]}]
    upstream.will(status(200, {"data": data, "usage": {"prompt_tokens": 4}}))
    prompt = Prompt(inputs=(Prompt(text="a"), Prompt(text="b")))
    last = answer(make_engine(), prompt=prompt, max_tokens=0)[-1]
    assert [struct.unpack("<2f", vector) for vector in last.embeddings] == [(0.5, 1), (0, -1)]
    assert last.usage == Usage(4)
    (asked,) = upstream.asked
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": MODEL, "input": ["a", "b"], "encoding_format": "float"}


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 1, "embedding": [1.0]}],
        [{"index": 0, "embedding": []}],
        [{"index": 0, "embedding": [1e300]}],
        [{"index": 0, "embedding": ["a"]}],
        "x",
    ],
)
def test_vectors_that_are_none(upstream: FakeUpstream, make_engine: MakeEngine, data: Any) -> None:
    upstream.will(status(200, {"data": data}))
    prompt = Prompt(inputs=(Prompt(text="a"),))
    assert answer(make_engine(), prompt=prompt)[-1].code is ErrorCode.BACKEND_UNAVAILABLE
