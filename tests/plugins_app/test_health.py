from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from monitoring.metrics import reading
from monitoring.metrics.reading import Snapshot
from plugins_app.base import Hook
from plugins_app.breaker import BreakerState
from plugins_app.health import health_of
from plugins_app.link import Outcome
from plugins_app.presence import PluginReport, announce, withdraw
from plugins_app.recorder import Recorder
from plugins_app.runners.base import FaultKind, RunnerState


@pytest.fixture
def workers(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(reading, "LIFETIME", 0.0)
    client = redis_client
    announce(
        client,
        "one@host",
        {"health": PluginReport(RunnerState.READY, resident_bytes=10, breaker=BreakerState.OPEN)},
    )
    announce(client, "two@host", {"health": PluginReport(RunnerState.READY, resident_bytes=20)})
    announce(client, "three@host", {"other": PluginReport(RunnerState.READY)})
    yield
    for name in ("one@host", "two@host", "three@host"):
        withdraw(client, name)


def test_what_nobody_runs_has_an_empty_health(workers: None) -> None:
    health = health_of("unknown")
    assert (health.calls, health.p50, health.resident_bytes) == (0, None, None)
    assert (health.errors, health.workers) == ({}, {})


def test_the_health_of_a_plugin_is_that_of_all_workers(
    workers: None, counted: Callable[[], Snapshot]
) -> None:
    recorder = Recorder("one@host")
    for _ in range(97):
        recorder.record("health", Hook.CHUNK, Outcome.OK, 0.001)
    for outcome in (Outcome.REFUSED, FaultKind.TIMEOUT, FaultKind.RAISED):
        recorder.record("health", Hook.PROMPT, outcome, 2.0)
    recorder.record("health", Hook.PROMPT, Outcome.SKIPPED, 0.0)
    recorder.runner_event("health", "restarted", "")
    counted()
    health = health_of("health")
    assert (health.calls, health.refusals, health.skipped, health.restarts) == (100, 1, 1, 1)
    assert health.errors == {"timeout": 1, "raised": 1}
    assert health.p50 == pytest.approx(0.001, rel=0.5)
    assert health.p99 == pytest.approx(2.0, rel=0.5)
    assert health.resident_bytes == 30
    assert health.breaker is BreakerState.OPEN
    assert sorted(health.workers) == ["one@host", "two@host"]
