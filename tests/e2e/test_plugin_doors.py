"""A stream filter behind the doors that keep answers: stored responses, batches, batch files, jobs."""

from __future__ import annotations

from typing import Any

import httpx
import openai

from tests.e2e.conftest import Stack
from tests.e2e.test_batches import send
from tests.e2e.test_openai import MODEL, client
from tests.e2e.test_openai_batches import begin, chat, end_of, read
from tests.e2e.test_plugins import BODY, loud

__all__ = ["client", "loud"]

QUESTION = "What is the capital of France?"


def get(stack: Stack, path: str) -> dict[str, Any]:
    return dict(httpx.get(f"{stack.url}{path}", headers=stack.headers, timeout=30).json())


def test_a_stored_response_is_what_the_filter_left(
    client: openai.OpenAI, stack: Stack, loud: str
) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": QUESTION, "temperature": 0}
    with client.responses.stream(**asked) as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        streamed = stream.get_final_response()
    assert "".join(pieces) == streamed.output_text
    assert "PARIS" in streamed.output_text
    assert streamed.output_text == streamed.output_text.upper()
    assert client.responses.retrieve(streamed.id).output_text == streamed.output_text
    assert client.responses.create(**asked).output_text == streamed.output_text


def test_a_batch_file_holds_what_the_filter_left(
    client: openai.OpenAI, stack: Stack, loud: str
) -> None:
    lines = [chat(number, QUESTION) for number in range(3)]
    batch = end_of(client, begin(client, lines))
    assert batch.status == "completed"
    single = client.chat.completions.create(**lines[0]["body"]).choices[0].message.content
    assert single == str(single).upper()
    for item in read(client, batch.output_file_id):
        (choice,) = item["response"]["body"]["choices"]
        assert choice["message"]["content"] == single


def test_every_input_of_a_batch_passes_the_filter(stack: Stack, loud: str) -> None:
    body = {**BODY, "inputs": [BODY["text"]] * 2}
    del body["text"]
    answer = send(stack, body)
    assert answer.status_code == 200, answer.text
    texts = [item["generated_text"] for item in answer.json()["results"]]
    assert texts == [loud.upper()] * 2


def test_a_job_names_the_plugin_and_repeats_its_text(stack: Stack, loud: str) -> None:
    job_id = stack.infer(BODY).json()["metadata"]["job_id"]
    job = get(stack, f"/api/jobs/{job_id}")["job"]
    assert (job["plugins"], job["content"]["output"]) == (["loud"], loud.upper())
    events = get(stack, f"/api/jobs/{job_id}/timeline")["events"]
    acted = [event for event in events if event["stage"] == "plugins_after"]
    assert [event["details"]["plugins"] for event in acted] == [["loud"]]
