"""The official client's newer way to ask, `/v1/responses`, against the whole stack."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.e2e.conftest import Stack
from tests.e2e.test_openai import MODEL, client

__all__ = ["client"]

FLAT: list[Any] = [
    {
        "type": "function",
        "name": "weather",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
            "additionalProperties": False,
        },
    }
]


class City(BaseModel):
    name: str


def test_a_question_is_answered(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.responses.create(
        model=MODEL, input="What is the capital of France?", instructions="Be brief.", temperature=0
    )
    assert "Paris" in answer.output_text
    assert (answer.status, answer.store) == ("completed", True)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_a_conversation_goes_on_from_what_is_stored(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "temperature": 0}
    with client.responses.stream(input="What is the capital of France?", **asked) as stream:
        first = stream.get_final_response()
    again = client.responses.retrieve(first.id)
    assert [item.id for item in again.output] == [item.id for item in first.output]
    assert again.output_text == first.output_text
    assert again.usage == first.usage
    second = client.responses.create(
        input="Thanks.", previous_response_id=first.id, max_output_tokens=9, **asked
    )
    assert second.previous_response_id == first.id
    items = list(client.responses.input_items.list(second.id, order="asc", limit=1))
    assert [item.role for item in items] == ["user", "assistant", "user"]  # type: ignore[union-attr]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as gone:
        client.responses.create(input="And now?", previous_response_id=first.id, **asked)
    assert gone.value.param == "previous_response_id"


def test_the_clients_own_stream_builds_up_the_same(client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {
        "model": MODEL, "input": "What is the capital of France?", "temperature": 0,
    }  # fmt: skip
    whole = client.responses.create(**asked)
    with client.responses.stream(**asked) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert text == final.output_text == whole.output_text


def test_a_forced_call_and_its_result_are_items(client: openai.OpenAI) -> None:
    question: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
    answer = client.responses.create(
        model=MODEL, input=question, tools=FLAT, tool_choice="required", temperature=0
    )
    (call,) = answer.output
    assert call.type == "function_call"
    assert list(json.loads(call.arguments)) == ["city"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "31 degrees"}
    after = client.responses.create(
        model=MODEL, input=[*question, *answer.output, result], max_output_tokens=5
    )
    assert after.status in ("completed", "incomplete")
    again = client.responses.create(
        model=MODEL, input=[*question, *after.output, *question], max_output_tokens=16
    )
    assert again.output_text


def test_an_answer_is_parsed_into_a_model_of_the_caller(client: openai.OpenAI) -> None:
    answer = client.responses.parse(
        model=MODEL, input="What is the capital of France?", text_format=City, temperature=0,
        max_output_tokens=100,
    )  # fmt: skip
    assert answer.output_parsed is not None
    assert answer.output_parsed.name
