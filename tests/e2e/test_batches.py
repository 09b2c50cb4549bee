"""Batches on the real model, through every process."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import PARIS, Stack, wait_until

LONG_BATCH = {"inputs": ["Tell a story."] * 40, "max_tokens": 60, "ignore_eos": True}


def send(stack: Stack, body: dict[str, Any], timeout: float = 180) -> httpx.Response:
    url = f"{stack.url}/api/batch_infer"
    return httpx.post(url, json=body, headers=stack.headers, timeout=timeout)


def newest(stack: Stack) -> dict[str, Any]:
    answer = httpx.get(f"{stack.url}/api/batches?limit=1", headers=stack.headers, timeout=30)
    return dict(answer.json()["results"][0])


def test_a_batch_answers_as_single_calls_do_in_the_order_of_its_inputs(stack: Stack) -> None:
    inputs = [PARIS["text"], {"id": "bad", "text": ""}, {"id": "last", **PARIS, "max_tokens": 3}]
    response = send(stack, {"inputs": inputs, "temperature": 0})
    body = response.json()
    assert response.status_code == 200, body
    first, bad, last = body["results"]
    assert first["generated_text"] == stack.text(PARIS)
    assert (bad["id"], bad["error"]["code"]) == ("bad", "INVALID_INPUT")
    assert (last["id"], last["tokens_generated"]) == ("last", 3)
    metadata = body["metadata"]
    assert (metadata["items_processed"], metadata["items_failed"]) == (2, 1)
    assert metadata["backend"] == "cpu"


def test_a_caller_that_leaves_ends_the_rest(stack: Stack) -> None:
    with pytest.raises(httpx.ReadTimeout):
        send(stack, LONG_BATCH, timeout=1.5)
    wait_until(lambda: newest(stack)["items_pending"] == 0, "the rest is cancelled", 10)
    assert newest(stack)["counts"]["cancelled"] > 0


def test_a_batch_outlives_the_worker_that_had_it(stack: Stack) -> None:
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(send(stack, LONG_BATCH | {"max_tokens": 20}))
    )
    waiting.start()
    wait_until(lambda: newest(stack)["state"] == "running", "it runs")
    os.kill(stack.worker_pid(), signal.SIGKILL)
    waiting.join()
    (response,) = answers
    assert response.json()["metadata"]["items_processed"] == 40, response.text
