"""What people get who set nothing: answers at once, and the fast path as soon as it is prepared."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import PARIS, Stack, wait_until

COLOURS = {"text": "Name three colours and say why.", "temperature": 0, "max_tokens": 40}


@pytest.fixture(scope="module")
def fresh() -> Iterator[Stack]:
    """A stack with an empty data directory, so that nothing is prepared."""
    with tempfile.TemporaryDirectory(prefix="llamagpu-e2e-") as folder:
        running = Stack(Path(folder), level="auto")
        try:
            running.wait_ready()
            yield running
        finally:
            if running.process.poll() is None:
                running.stop()


def level(stack: Stack) -> int:
    response = httpx.get(f"{stack.url}/api/models", headers=stack.headers, timeout=30)
    (model,) = response.json()["models"]
    return int(model["capabilities"]["optimization_level"])


@pytest.mark.timeout(600)
def test_a_fresh_server_answers_at_once_and_gets_faster_while_it_serves(fresh: Stack) -> None:
    assert level(fresh) == 2
    assert "Paris" in fresh.text(PARIS)
    answers = []

    def is_fast() -> bool:
        # Requests are under way all the time, so that the change happens beneath them.
        answers.append(fresh.infer(PARIS))
        time.sleep(1)
        return level(fresh) == 3

    wait_until(is_fast, "the fast path is prepared", 500)
    assert {response.status_code for response in answers} == {200}
    assert all("Paris" in r.json()["result"]["generated_text"] for r in answers)


def test_on_the_fast_path_callers_change_nothing_for_each_other(fresh: Stack) -> None:
    alone = fresh.text(COLOURS)
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda _: fresh.text(COLOURS), range(16)))
    assert set(together) == {alone}
    assert fresh.text(PARIS) == "The capital of France is Paris."


def test_a_second_start_is_fast_from_the_first_answer_on(fresh: Stack) -> None:
    fresh.stop()
    again = Stack(fresh.data_dir, level="auto")
    try:
        again.wait_ready()
        assert level(again) == 3
        assert "Paris" in again.text(PARIS)
    finally:
        again.stop()
