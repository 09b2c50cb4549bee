"""`Idempotency-Key` on the whole stack: callers who leave and come again, two web processes at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from tests.e2e.conftest import LONG, PARIS, Stack, free_port, read_sse, wait_until
from tests.environment import PROJECT_ROOT


def keyed(stack: Stack, key: str) -> dict[str, str]:
    return {**stack.headers, "Idempotency-Key": key}


def jobs_of(stack: Stack, key: str) -> list[sqlite3.Row]:
    database = sqlite3.connect(stack.data_dir / "db.sqlite3", timeout=20)
    database.row_factory = sqlite3.Row
    try:
        return database.execute(
            "SELECT job.* FROM inference_inferencejob job"
            " JOIN inference_idempotentcall call ON job.call_id = call.id WHERE call.key = ?",
            [key],
        ).fetchall()
    finally:
        database.close()


@pytest.fixture
def second_web(stack: Stack) -> Iterator[str]:
    """The address of another web process of the same installation."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "llamagpu.web_server", "--bind", "127.0.0.1", "--port", str(port),
         "--verbosity", "0", "llamagpu.asgi:application"],
        cwd=PROJECT_ROOT,
        env=stack.environment | {"PATH": os.environ["PATH"]},
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def lives() -> bool:
        try:
            return httpx.get(f"{url}/livez", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        wait_until(lives, "the second web process answers", 60)
        yield url
    finally:
        process.terminate()
        process.wait(20)


def test_callers_of_two_web_processes_get_one_answer(stack: Stack, second_web: str) -> None:
    def ask(number: int) -> httpx.Response:
        url = (stack.url, second_web)[number % 2]
        body = {**PARIS, "max_tokens": 20}
        return httpx.post(f"{url}/api/infer", json=body, headers=keyed(stack, "two"), timeout=120)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(ask, range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len({answer.json()["metadata"]["job_id"] for answer in answers}) == 1
    assert len({answer.json()["result"]["generated_text"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
    (job,) = jobs_of(stack, "two")
    assert job["attempt"] == 1


def test_a_caller_who_left_gets_the_answer_of_the_job_that_went_on(stack: Stack) -> None:
    headers = keyed(stack, "left")
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{stack.url}/api/infer", json=LONG, headers=headers, timeout=1)
    again = httpx.post(f"{stack.url}/api/infer", json=LONG, headers=headers, timeout=120)
    assert again.status_code == 200, again.text
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json()["metadata"]["usage"]["completion_tokens"] == LONG["max_tokens"]
    (job,) = jobs_of(stack, "left")
    assert (job["state"], job["attempt"]) == ("succeeded", 1)


def test_a_stream_that_was_left_is_told_again_from_its_first_token(stack: Stack) -> None:
    headers, url = keyed(stack, "stream"), f"{stack.url}/api/stream_infer"
    with httpx.stream("POST", url, json=LONG, headers=headers, timeout=120) as response:
        first = next(read_sse(response.iter_lines()))
    with httpx.stream("POST", url, json=LONG, headers=headers, timeout=120) as response:
        assert response.headers["idempotent-replayed"] == "true"
        events = list(read_sse(response.iter_lines()))
    assert events[0] == first
    assert "".join(event["token"] for event in events) == events[-1]["final_text"]
    assert len(jobs_of(stack, "stream")) == 1


def test_a_batch_that_was_left_goes_on(stack: Stack) -> None:
    body: dict[str, Any] = {**LONG, "inputs": ["one", "two"]}
    del body["text"]
    headers, url = keyed(stack, "batch"), f"{stack.url}/api/batch_infer"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(url, json=body, headers=headers, timeout=1)
    again = httpx.post(url, json=body, headers=headers, timeout=120)
    assert again.headers["idempotent-replayed"] == "true"
    assert [result["tokens_generated"] for result in again.json()["results"]] == [120, 120]


def test_retries_of_the_official_client_wait_for_one_and_the_same_job(stack: Stack) -> None:
    with openai.OpenAI(
        base_url=f"{stack.url}/v1",
        api_key=stack.headers["Authorization"].removeprefix("Bearer "),
        max_retries=20,
        timeout=1.5,
    ) as client:
        answer = client.chat.completions.create(
            model="smollm2-135m-instruct",
            messages=[{"role": "user", "content": str(LONG["text"])}],
            max_tokens=120,
            extra_body={"ignore_eos": True},
            extra_headers={"Idempotency-Key": "official"},
        )
    assert answer.usage and answer.usage.completion_tokens == 120
    (job,) = jobs_of(stack, "official")
    assert answer.id == f"chatcmpl-{job['id']}"
