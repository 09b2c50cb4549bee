"""Messages and queues are counted as they are on a real broker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inference import broker_metrics, metrics
from inference.dispatch import QUEUE, queue_of, ring_many
from inference.presence import WorkerReport, announce
from monitoring.metrics.reading import Snapshot

WORKER = WorkerReport("w", "1", 1, "here", 0.0, 0, 8)


def test_queues_are_measured_and_messages_counted(
    redis_client: Any, counted: Callable[[], Snapshot]
) -> None:
    announce(redis_client, WORKER)
    ring_many(["one"])
    ring_many(["two"])
    ring_many(["three"], queue_of("w"))
    broker_metrics.look()
    found = counted()
    assert found.counter("broker_messages_published_total", task="inference.generate_many") == 3
    assert found.gauge("broker_queue_length", queue=QUEUE) == 2
    assert found.gauge("broker_queue_length", queue=queue_of("w")) == 1


def test_without_redis_nothing_is_said_of_queues(
    redis_client: Any, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    broker_metrics.look()
    assert metrics.QUEUE_LENGTH.values()
    settings.REDIS_URL = "redis://127.0.0.1:1"
    broker_metrics._client.cache_clear()
    try:
        broker_metrics.look()
        assert metrics.QUEUE_LENGTH.values() == {}
    finally:
        broker_metrics._client.cache_clear()
