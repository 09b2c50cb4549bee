"""The official OpenAI client against the whole stack: it must find here what it knows."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from tests.e2e.conftest import Stack, wait_until

MODEL = "smollm2-135m-instruct"
PARIS: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
STORY: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Tell a long story about a llama."}
]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather in a city",
            "parameters": {
                "type": "object",
                "properties": {"city": {"$ref": "#/$defs/City"}},
                "required": ["city"],
                "additionalProperties": False,
                "$defs": {"City": {"type": "string", "maxLength": 20}},
            },
        },
    },
    {"type": "function", "function": {"name": "now"}},
]


def key_of(stack: Stack) -> str:
    return str(stack.headers["Authorization"].removeprefix("Bearer "))


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{stack.url}/v1", api_key=key_of(stack), max_retries=0, timeout=120
    ) as made:
        yield made


def test_the_models_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    model = client.models.retrieve(MODEL)
    assert (model.object, model.owned_by) == ("model", "llamagpu")
    assert model.created > 0


def test_a_chat_is_answered(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "What is the capital"},
                                         {"type": "text", "text": " of France?"}]},
        ],
        temperature=0,
        user="somebody",
    )  # fmt: skip
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    row = stack.job(request_id=str(answer._request_id))
    assert row is not None
    assert (row["state"], row["end_user"]) == ("succeeded", "somebody")


def test_several_answers_have_seeds_and_log_probabilities(client: openai.OpenAI) -> None:
    def ask() -> Any:
        return client.chat.completions.create(
            model=MODEL, messages=PARIS, n=3, seed=5, temperature=1.2, max_completion_tokens=6,
            logprobs=True, top_logprobs=2, stop=["\n"],
        )  # fmt: skip

    answer, again = ask(), ask()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in answer.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    content = answer.choices[2].logprobs.content
    assert len(content) <= 6
    assert content[0].logprob <= 0
    assert len(content[0].top_logprobs) == 2


def test_a_streamed_chat_says_what_the_whole_one_says(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=PARIS, temperature=0, n=2)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=PARIS, temperature=0, n=2, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    for index in (0, 1):
        mine = [c for chunk in chunks for c in chunk.choices if c.index == index]
        assert mine[0].delta.role == "assistant"
        text = "".join(choice.delta.content or "" for choice in mine)
        assert text == whole.choices[index].message.content
        assert [c.finish_reason for c in mine if c.finish_reason] == ["stop"]
        assert mine[-1].finish_reason == "stop"
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None and whole.usage is not None
    assert usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_the_asynchronous_client_streams_too(stack: Stack) -> None:
    async with openai.AsyncOpenAI(base_url=f"{stack.url}/v1", api_key=key_of(stack)) as client:
        stream = await client.chat.completions.create(
            model=MODEL, messages=PARIS, temperature=0, stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert "Paris" in text


def test_who_leaves_a_stream_ends_its_job(client: openai.OpenAI, stack: Stack) -> None:
    stream = client.chat.completions.create(
        model=MODEL, messages=STORY, stream=True, max_tokens=2000, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    request_id = stream.response.headers["x-request-id"]
    stream.close()
    row = wait_until(
        lambda: (
            (found := stack.job(request_id=request_id)) and found["state"] == "cancelled" and found
        ),
        "the job is cancelled",
    )
    assert 0 < row["completion_tokens"] < 2000


def test_a_stream_goes_on_when_the_engine_dies(client: openai.OpenAI, stack: Stack) -> None:
    asked: dict[str, Any] = {
        "model": MODEL, "messages": STORY, "temperature": 0, "max_tokens": 120,
        "extra_body": {"ignore_eos": True},
    }  # fmt: skip
    alone = client.chat.completions.create(**asked).choices[0].message.content
    stream = client.chat.completions.create(**asked, stream=True)
    told, is_killed = "", False
    for chunk in stream:
        told += chunk.choices[0].delta.content or ""
        if len(told) > 40 and not is_killed:
            os.kill(stack.engine_pid(), signal.SIGKILL)
            is_killed = True
    row = stack.job(request_id=stream.response.headers["x-request-id"])
    assert row is not None
    assert row["attempt"] == 2
    assert told == alone


def test_plain_completions_read_text_and_token_ids(client: openai.OpenAI) -> None:
    texts = client.completions.create(
        model=MODEL, prompt=["Once upon a", "The sky is"], max_tokens=4, temperature=0, n=2,
        logprobs=1,
    )  # fmt: skip
    assert [choice.index for choice in texts.choices] == [0, 1, 2, 3]
    assert texts.choices[0].text == texts.choices[1].text != texts.choices[2].text
    logprobs = texts.choices[0].logprobs
    assert logprobs is not None and logprobs.tokens is not None
    assert "".join(logprobs.tokens) == texts.choices[0].text
    assert logprobs.text_offset == [
        sum(map(len, logprobs.tokens[:i])) for i in range(len(logprobs.tokens))
    ]
    echoed = client.completions.create(
        model=MODEL, prompt="Once upon a", max_tokens=4, temperature=0, echo=True
    )
    assert echoed.choices[0].text == f"Once upon a{texts.choices[0].text}"
    assert echoed.choices[0].finish_reason == "length"
    by_ids = client.completions.create(model=MODEL, prompt=[[28, 29], [30]], max_tokens=2)
    assert len(by_ids.choices) == 2
    streamed = client.completions.create(
        model=MODEL, prompt=["Once upon a", "The sky is"], max_tokens=4, temperature=0, stream=True
    )
    told = {0: "", 1: ""}
    for chunk in streamed:
        told[chunk.choices[0].index] += chunk.choices[0].text
    assert list(told.values()) == [texts.choices[0].text, texts.choices[2].text]


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
)
def test_a_forced_call_follows_its_schema(client: openai.OpenAI, choice: Any) -> None:
    asked: dict[str, Any] = {
        "model": MODEL, "tools": TOOLS, "tool_choice": choice, "temperature": 0, "max_tokens": 80,
        "messages": [{"role": "user", "content": "What is the weather in Rome?"}],
    }  # fmt: skip
    answer = client.chat.completions.create(**asked)
    (call,) = answer.choices[0].message.tool_calls
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    assert call.function.name == "weather"
    assert list(json.loads(call.function.arguments)) == ["city"]
    deltas = [
        delta
        for chunk in client.chat.completions.create(**asked, stream=True)
        for delta in chunk.choices[0].delta.tool_calls or ()
    ]
    assert (deltas[0].index, deltas[0].function.name) == (0, "weather")
    told = "".join(delta.function.arguments or "" for delta in deltas)
    assert json.loads(told) == json.loads(call.function.arguments)
    # The call and its result are turns of the next question.
    messages = [
        *asked["messages"],
        answer.choices[0].message,
        {"role": "tool", "tool_call_id": call.id, "content": "31 degrees"},
    ]
    after = client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice="none", max_tokens=5
    )
    assert after.choices[0].message.tool_calls is None


def test_errors_are_of_the_clients_own_classes(client: openai.OpenAI, stack: Stack) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=MODEL, messages=PARIS, store=True)
    assert (refused.value.param, refused.value.code) == ("store", "invalid_input")
    assert refused.value.request_id
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=PARIS)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as best:
        client.completions.create(model=MODEL, prompt="x", best_of=2)
    assert best.value.param == "best_of"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.BadRequestError) as schema:
        client.chat.completions.create(
            model=MODEL, messages=PARIS, stream=True,
            response_format={"type": "json_schema",
                             "json_schema": {"name": "x", "schema": {"not": {}}}},
        )  # fmt: skip
    assert schema.value.param == "response_format"


def test_a_key_without_the_scope_is_denied(client: openai.OpenAI, stack: Stack) -> None:
    made = stack.manage(
        "key", "create", "--user", "admin", "--name", "x", "--scopes", "models:read"
    )
    narrow = client.with_options(api_key=made.strip())
    assert [model.id for model in narrow.models.list()] == [MODEL]
    with pytest.raises(openai.PermissionDeniedError):
        narrow.chat.completions.create(model=MODEL, messages=PARIS)


def test_thirty_clients_at_once_are_all_answered(client: openai.OpenAI) -> None:
    answers: list[str] = []

    def ask() -> None:
        answer = client.chat.completions.create(
            model=MODEL, messages=PARIS, temperature=0, max_tokens=10
        )
        answers.append(answer.choices[0].message.content or "")

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 30
    assert len(set(answers)) == 1
