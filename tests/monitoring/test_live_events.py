"""What happens is kept in a capped stream, in one envelope; nobody is stopped by a Redis that is away."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from inference.presence import EngineReport
from inference.states import ModelState
from inference.worker.model_events import ModelEvents
from monitoring import live_events
from monitoring.live_events import MODEL_EVENTS, key_of, publish


def published(client: Any) -> list[dict[str, Any]]:
    found = client.xrange(key_of(MODEL_EVENTS))
    return [json.loads(fields[live_events.FIELD.encode()]) for _, fields in found]


def test_an_event_has_the_envelope(redis_client: Any) -> None:
    publish(MODEL_EVENTS, "model_ready", {"model": "m"})
    (event,) = published(redis_client)
    assert set(event) == {"timestamp", "event_type", "data"}
    assert (event["event_type"], event["data"]) == ("model_ready", {"model": "m"})
    assert datetime.fromisoformat(event["timestamp"]).utcoffset() is not None


def test_the_stream_is_capped(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_events, "MAX_EVENTS", 10)
    for number in range(500):
        publish(MODEL_EVENTS, "model_ready", {"number": number})
    assert redis_client.xlen(key_of(MODEL_EVENTS)) < 300


def test_a_redis_that_is_away_is_no_obstacle(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    publish(MODEL_EVENTS, "model_ready", {"model": "m"})


def test_an_unknown_stream_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="no stream"):
        publish("other", "x", {})


def test_changes_of_engines_become_events_once() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    watch = ModelEvents("w", lambda stream, kind, data: events.append((kind, data)))
    loading = EngineReport("m", ModelState.LOADING, progress=0.5, stage="weights")
    ready = EngineReport("m", ModelState.READY, backend="cpu", resident_bytes=5)
    watch.note([loading])
    watch.note([loading])
    watch.note([ready])
    watch.note([ready])
    watch.note([])
    assert events == [
        (
            "model_loading",
            {"model": "m", "worker": "w", "stage": "weights", "fraction": 0.5},
        ),
        ("model_ready", {"model": "m", "worker": "w", "backend": "cpu", "memory": 5}),
        ("model_unloaded", {"model": "m", "worker": "w"}),
    ]


def test_a_failure_is_told_with_its_reason() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    watch = ModelEvents("w", lambda stream, kind, data: events.append((kind, data)))
    watch.note([EngineReport("m", ModelState.FAILED, error="truncated")])
    assert events == [("model_failed", {"model": "m", "worker": "w", "error": "truncated"})]
