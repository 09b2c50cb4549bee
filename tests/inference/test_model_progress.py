"""What the workers' reports say of a model that comes or goes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from inference.model_progress import progress_of, running_engines, wait_until_gone
from inference.models import Model
from inference.presence import EngineReport, Freed, WorkerReport, announce
from inference.states import ModelState
from tests.inference.test_model_control import worker

LOADING = EngineReport("m", ModelState.LOADING, progress=0.4, stage="weights")
READY = EngineReport("m", ModelState.READY, progress=1.0, resident_bytes=500)
FAILED = EngineReport("m", ModelState.FAILED, error="model.safetensors is truncated")


def model(**fields: Any) -> Model:
    return Model(**{"slug": "m", **fields})


def say(client: Any, *workers: WorkerReport) -> None:
    for report in workers:
        announce(client, report)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, ModelState.AVAILABLE),
        ({"desired_state": "ready"}, ModelState.LOADING),
        ({"desired_state": "ready", "is_enabled": False}, ModelState.AVAILABLE),
        ({"desired_state": "ready", "state": "absent"}, ModelState.ABSENT),
    ],
)
def test_a_model_without_an_engine(
    redis_client: Any, fields: dict[str, Any], state: ModelState
) -> None:
    say(redis_client, worker())
    assert progress_of(model(**fields)).state is state


@pytest.mark.parametrize(
    ("engines", "state", "is_settled"),
    [
        ([READY], ModelState.READY, True),
        ([READY, LOADING], ModelState.LOADING, False),
        ([READY, FAILED, LOADING], ModelState.FAILED, True),
        ([EngineReport("other", ModelState.FAILED), READY], ModelState.READY, True),
    ],
)
def test_several_engines_are_as_far_as_the_slowest(
    redis_client: Any, engines: list[EngineReport], state: ModelState, is_settled: bool
) -> None:
    say(redis_client, *(worker(engine, name=f"w{i}") for i, engine in enumerate(engines)))
    progress = progress_of(model(desired_state="ready"))
    assert (progress.state, progress.is_settled) == (state, is_settled)


def test_stage_fraction_and_error_are_the_engines(redis_client: Any) -> None:
    say(redis_client, worker(LOADING))
    progress = progress_of(model())
    assert (progress.stage, progress.fraction, progress.error) == ("weights", 0.4, "")
    say(redis_client, worker(FAILED))
    assert progress_of(model()).error == "model.safetensors is truncated"


def test_an_engine_of_before_is_on_its_way_out(redis_client: Any) -> None:
    say(redis_client, worker(READY, generations={"m": 0}))
    assert progress_of(model(generation=1)).state is ModelState.UNLOADING


def test_it_is_gone_when_every_worker_knows_and_holds_none(redis_client: Any) -> None:
    wanted = model(generation=2)
    say(redis_client, worker(generations={"m": 1}))
    assert not wait_until_gone(wanted, patience=0.0).is_gone  # the worker may just be loading it
    say(redis_client, worker(READY, generations={"m": 2}))
    assert not wait_until_gone(wanted, patience=0.0).is_gone
    say(redis_client, worker(generations={"m": 2}))
    assert wait_until_gone(wanted, patience=0.0).is_gone


def test_an_engine_of_after_is_no_obstacle(redis_client: Any) -> None:
    after = EngineReport("m", ModelState.READY, generation=2)
    say(redis_client, worker(after, generations={"m": 2}))
    assert wait_until_gone(model(generation=2), patience=0.0).is_gone


def test_what_all_workers_freed_for_this_change_is_added(redis_client: Any) -> None:
    say(
        redis_client,
        worker(name="a", generations={"m": 2}, freed={"m": Freed(2, 100)}),
        worker(name="b", generations={"m": 2}, freed={"m": Freed(2, 30), "other": Freed(2, 5)}),
        worker(name="c", generations={"m": 2}, freed={"m": Freed(1, 7)}),
    )
    assert wait_until_gone(model(generation=2), patience=0.0).freed_memory == 130


def test_waiting_ends_when_it_is_gone(redis_client: Any) -> None:
    say(redis_client, worker(READY, generations={"m": 1}))
    timer = threading.Timer(0.3, say, [redis_client, worker(generations={"m": 1})])
    timer.start()
    assert wait_until_gone(model(generation=1), patience=60.0).is_gone
    timer.join()


def test_a_disabled_model_is_gone_without_a_word_of_its_generation(redis_client: Any) -> None:
    say(redis_client, worker())
    assert wait_until_gone(model(generation=1, is_enabled=False), patience=0.0).is_gone


def test_every_engine_is_listed_with_its_worker(redis_client: Any) -> None:
    say(redis_client, worker(READY, LOADING))
    listed = running_engines()
    assert [engine["state"] for engine in listed] == ["ready", "loading"]
    assert listed[0]["worker"] == "w"
