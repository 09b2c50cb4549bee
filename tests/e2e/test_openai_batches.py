"""Files and batches by the official client, on the real model, through every process."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import Stack, wait_until

MODEL = "smollm2-135m-instruct"
CHATS, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
ENDS = {"completed", "failed", "expired", "cancelled"}


@pytest.fixture
def client(stack: Stack) -> Iterator[openai.OpenAI]:
    key = str(stack.headers["Authorization"].removeprefix("Bearer "))
    with openai.OpenAI(base_url=f"{stack.url}/v1", api_key=key, max_retries=0, timeout=120) as made:
        yield made


def chat(number: int | str, text: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 8, **fields}
    return {"custom_id": str(number), "method": "POST", "url": CHATS, "body": body}


def story(number: int, max_tokens: int) -> dict[str, Any]:
    return chat(number, "Tell a story.", max_tokens=max_tokens, ignore_eos=True)


def upload(client: openai.OpenAI, lines: list[dict[str, Any]]) -> str:
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    return client.files.create(file=("lines.jsonl", data), purpose="batch").id


def begin(client: openai.OpenAI, lines: list[dict[str, Any]]) -> str:
    return client.batches.create(
        input_file_id=upload(client, lines), endpoint=CHATS, completion_window="24h"
    ).id


def end_of(client: openai.OpenAI, name: str, patience: float = 120) -> openai.types.Batch:
    def ended() -> openai.types.Batch | None:
        batch = client.batches.retrieve(name)
        return batch if batch.status in ENDS else None

    found: openai.types.Batch = wait_until(ended, "the batch ends", patience)
    return found


def read(client: openai.OpenAI, name: str | None) -> list[dict[str, Any]]:
    if name is None:
        return []
    return [json.loads(line) for line in client.files.content(name).text.splitlines()]


def num_done(client: openai.OpenAI, name: str) -> int:
    counts = client.batches.retrieve(name).request_counts
    return 0 if counts is None else counts.completed


def test_a_batch_answers_as_single_calls_do(client: openai.OpenAI) -> None:
    questions = [f"What is {number} plus {number}?" for number in range(12)]
    lines = [chat(number, text) for number, text in enumerate(questions)]
    lines.insert(5, chat("bad", "hi", colour="red"))
    name = begin(client, lines)
    assert name in [batch.id for batch in client.batches.list(limit=5)]
    batch = end_of(client, name)
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 13, "completed": 12, "failed": 1}
    results = read(client, batch.output_file_id)
    assert [item["custom_id"] for item in results] == [str(number) for number in range(12)]
    single = client.chat.completions.create(**lines[0]["body"])
    (choice,) = results[0]["response"]["body"]["choices"]
    assert choice["message"]["content"] == single.choices[0].message.content
    (error,) = read(client, batch.error_file_id)
    assert (error["custom_id"], error["response"]["status_code"]) == ("bad", 400)
    assert error["response"]["body"]["error"]["param"] == "colour"


def test_files_are_listed_read_and_deleted(client: openai.OpenAI) -> None:
    data = os.urandom(3_000_000)
    file = client.files.create(file=("any.bin", data), purpose="batch")
    assert client.files.retrieve(file.id) == file
    assert file.id in [item.id for item in client.files.list(purpose="batch", limit=2)]
    assert client.files.content(file.id).read() == data
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


def test_a_body_in_chunks_is_received_and_bounded(stack: Stack) -> None:
    def form(size: int) -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        for _ in range(size // 65536):
            yield b"x" * 65536
        yield b"\r\n--b--\r\n"

    def send(path: str, size: int) -> httpx.Response:
        headers = {**stack.headers, "Content-Type": "multipart/form-data; boundary=b"}
        return httpx.post(f"{stack.url}{path}", content=form(size), headers=headers, timeout=60)

    response = send("/v1/files", 8 << 20)
    assert (response.status_code, response.json()["bytes"]) == (200, 8 << 20)
    patched = httpx.patch(
        f"{stack.url}/api/system/config", json={"max_file_bytes": 1 << 20}, headers=stack.headers
    )
    assert patched.status_code == 200, patched.text
    try:
        wait_until(lambda: refused(send, "/v1/files", 8 << 20), "the limit holds", 10)
        assert refused(send, "/v1/batches", 8 << 20), "no other address takes large bodies"
    finally:
        httpx.patch(
            f"{stack.url}/api/system/config", json={"max_file_bytes": None}, headers=stack.headers
        )
    drafts = stack.data_dir / "files" / "drafts"
    wait_until(lambda: not list(drafts.iterdir()), "nothing is left of what was refused")


def refused(send: Any, path: str, size: int) -> bool:
    try:
        return bool(send(path, size).status_code == 413)
    except httpx.WriteError:  # the answer came, and the connection went, before all was sent
        return True


def test_a_client_that_leaves_in_the_middle_leaves_nothing(stack: Stack) -> None:
    def torn() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        yield b"x" * (4 << 20)
        raise RuntimeError("gone")

    before = len(list((stack.data_dir / "files").iterdir()))
    headers = {**stack.headers, "Content-Type": "multipart/form-data; boundary=b"}
    with pytest.raises(RuntimeError):
        httpx.post(f"{stack.url}/v1/files", content=torn(), headers=headers)
    assert stack.probe() == 200
    assert len(list((stack.data_dir / "files").iterdir())) == before


def test_what_runs_is_cancelled_and_what_has_ended_is_kept(client: openai.OpenAI) -> None:
    name = begin(client, [chat("first", "hi"), *(story(n, 400) for n in range(60))])
    wait_until(lambda: num_done(client, name) >= 1, "the first line is answered")
    assert client.batches.cancel(name).status == "cancelling"
    batch = end_of(client, name, 20)
    assert batch.status == "cancelled"
    answered = read(client, batch.output_file_id)
    rest = read(client, batch.error_file_id)
    assert answered[0]["custom_id"] == "first"
    assert len(answered) + len(rest) == 61
    assert {item["error"]["code"] for item in rest} == {"batch_cancelled"}


def test_interactive_calls_are_served_beside_a_batch(client: openai.OpenAI) -> None:
    name = begin(client, [story(number, 60) for number in range(80)])
    wait_until(lambda: num_done(client, name) >= 1, "it runs")
    begun = time.monotonic()
    answer = client.chat.completions.create(**chat(0, "hi")["body"])
    assert answer.choices[0].message.content is not None
    assert client.batches.retrieve(name).status == "in_progress", time.monotonic() - begun
    client.batches.cancel(name)
    end_of(client, name)


def test_a_worker_that_is_killed_twice_costs_no_line_and_repeats_none(
    stack: Stack, client: openai.OpenAI
) -> None:
    name = begin(client, [story(number, 20) for number in range(48)])
    for share in (6, 24):
        wait_until(lambda share=share: num_done(client, name) >= share, "some lines are done", 120)
        os.kill(stack.worker_pid(), signal.SIGKILL)
    batch = end_of(client, name, 240)
    assert batch.status == "completed", batch
    results = read(client, batch.output_file_id)
    assert [item["custom_id"] for item in results] == [str(number) for number in range(48)]
    assert batch.error_file_id is None
    texts = {item["response"]["body"]["choices"][0]["message"]["content"] for item in results}
    assert len(texts) == 1, "the same question, the same answer"
    usage = [item["response"]["body"]["usage"]["completion_tokens"] for item in results]
    assert usage == [20] * 48


def test_an_input_that_is_none_fails_with_the_numbers_of_its_lines(client: openai.OpenAI) -> None:
    file = client.files.create(
        file=("bad.jsonl", b'{"custom_id": "1"}\n\nnot json\n'), purpose="batch"
    )
    created = client.batches.create(
        input_file_id=file.id, endpoint=COMPLETIONS, completion_window="24h"
    )
    batch = end_of(client, created.id)
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(error.line, error.code) for error in batch.errors.data] == [
        (1, "invalid_method"),
        (3, "invalid_json_line"),
    ]
