from __future__ import annotations

import logging
import threading

import pytest

from llamagpu.lib.batch_queue import BatchQueue


def test_what_waits_together_is_handled_together_and_in_order() -> None:
    batches: list[list[int]] = []
    gate = threading.Event()

    def handle(batch: list[int]) -> None:
        batches.append(batch)
        gate.wait(10)

    items: BatchQueue[int] = BatchQueue("test", handle, max_batch=3)
    for number in range(6):
        items.put(number)
    gate.set()
    items.close(10)
    assert [number for batch in batches for number in batch] == list(range(6))
    assert max(len(batch) for batch in batches) <= 3


def test_an_idle_queue_is_asked_now_and_then_when_it_wants_to_be() -> None:
    asked = threading.Event()
    items: BatchQueue[int] = BatchQueue(
        "test", lambda batch: None if batch else asked.set(), max_batch=3, idle=lambda: 0.01
    )
    assert asked.wait(10)
    items.close(10)


def test_a_batch_that_fails_is_logged_and_those_after_it_are_handled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handled = threading.Event()

    def handle(batch: list[str]) -> None:
        if "bad" in batch:
            raise ValueError("as asked")
        if batch:
            handled.set()

    items: BatchQueue[str] = BatchQueue("test", handle, max_batch=1)
    with caplog.at_level(logging.ERROR):
        items.put("bad")
        items.put("good")
        assert handled.wait(10)
        items.close(10)
    assert "test: a batch is lost" in caplog.text
