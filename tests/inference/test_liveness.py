"""Workers and engines as parts that live, fall silent, and are forgotten in the end."""

from __future__ import annotations

from typing import Any

import pytest

from inference import liveness
from inference.liveness import forget_silent, service_load, worker_parts
from inference.presence import EngineReport, WorkerReport, announce, withdraw
from inference.states import ModelState


def report(name: str, *engines: EngineReport) -> WorkerReport:
    return WorkerReport(name, "1", 7, "here", 0.0, 2, 8, engines)


def engine(model: str = "m", state: ModelState = ModelState.READY, **figures: Any) -> EngineReport:
    return EngineReport(model, state, **figures)


@pytest.fixture(autouse=True)
def nothing_silent(monkeypatch: pytest.MonkeyPatch, redis_client: Any) -> None:
    monkeypatch.setattr(liveness, "_silent_since", {})


def test_every_worker_and_every_engine_is_a_part(redis_client: Any) -> None:
    announce(redis_client, report("w", engine(num_running=3), engine("n", ModelState.FAILED)))
    parts = {part.name: part for part in worker_parts()}
    assert parts["worker:w"].detail == "process 7 on here, 2 jobs"
    assert parts["engine:w/m"].detail == "ready, 3 running, 0 waiting"
    assert {name: part.healthy for name, part in parts.items()} == {
        "worker:w": True,
        "engine:w/m": True,
        "engine:w/n": False,
    }


def test_a_worker_that_was_killed_is_named_silent_and_one_that_was_stopped_is_not(
    redis_client: Any,
) -> None:
    for name in ("killed", "stopped"):
        announce(redis_client, report(name, engine()))
    withdraw(redis_client, "stopped")
    redis_client.delete("lg:worker:killed")  # as when its report has run out
    (part,) = worker_parts()
    assert (part.name, part.healthy) == ("worker:killed", False)


def test_a_silent_worker_is_forgotten_after_an_hour(
    redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(liveness.time, "monotonic", lambda: now[0])
    announce(redis_client, report("w"))
    redis_client.delete("lg:worker:w")
    assert forget_silent() == 0
    now[0] = 3599.0
    assert forget_silent() == 0
    now[0] = 3601.0
    assert forget_silent() == 1
    assert worker_parts() == []


def test_one_that_speaks_again_begins_its_hour_anew(
    redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(liveness.time, "monotonic", lambda: now[0])
    announce(redis_client, report("w"))
    redis_client.delete("lg:worker:w")
    forget_silent()
    announce(redis_client, report("w"))
    forget_silent()
    redis_client.delete("lg:worker:w")
    now[0] = 3700.0
    assert forget_silent() == 0


def test_the_load_is_that_of_all_workers(redis_client: Any) -> None:
    announce(redis_client, report("a", engine(num_running=2, kv_cache_usage=0.2)))
    announce(redis_client, report("b", engine(num_waiting=1, kv_cache_usage=0.7)))
    redis_client.rpush("lg:inference", "message")
    load = service_load()
    assert (load.workers, load.active, load.queued) == (2, 4, 1)
    model = load.models["m"]
    assert (model.running, model.waiting, model.engines, model.kv_cache_usage) == (2, 1, 2, 0.7)


def test_an_engine_that_is_loading_serves_nothing_yet(redis_client: Any) -> None:
    announce(redis_client, report("w", engine(state=ModelState.LOADING)))
    assert service_load().models == {}


def test_without_redis_there_are_no_parts(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert worker_parts() == []
