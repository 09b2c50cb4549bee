"""The worker follows what is wanted of each model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference import model_bell
from inference.protocol import Load, Prompt, SamplingParams, Submit
from inference.states import ModelState
from inference.worker import reconciler as module
from inference.worker.engine_pool import EnginePool, LoadOrder
from inference.worker.load_orders import DesiredModel
from inference.worker.reconciler import Reconciler
from tests import fakes
from tests.inference.worker.conftest import wait_until


class Wanted:
    """What the database says; also where the pool's orders come from."""

    def __init__(self) -> None:
        self.models: dict[str, DesiredModel] = {}
        self.forgotten: list[tuple[str, int]] = []

    def say(
        self, slug: str, *, generation: int = 0, wanted: bool = False, idle: int | None = None
    ) -> None:
        self.models[slug] = DesiredModel(slug, generation, wanted, idle)

    def read(self) -> list[DesiredModel]:
        return list(self.models.values())

    def order_for(self, slug: str) -> LoadOrder:
        return LoadOrder(Load(model_path=slug), self.models[slug].generation)

    def forget(self, *, slug: str, generation: int) -> None:
        self.forgotten.append((slug, generation))


@pytest.fixture
def wanted(monkeypatch: pytest.MonkeyPatch) -> Wanted:
    made = Wanted()
    monkeypatch.setattr(module, "forget_idle_model", made.forget)
    monkeypatch.setattr(module, "_LEAST_IDLE", 0.0)
    return made


@pytest.fixture
def pool(wanted: Wanted) -> Iterator[EnginePool]:
    made = EnginePool(wanted.order_for, fakes.COMMAND)
    yield made
    made.close(1.0)


@pytest.fixture
def follower(redis_client: Any, pool: EnginePool, wanted: Wanted) -> Reconciler:
    return Reconciler(redis_client, pool, wanted.read)


def ready(pool: EnginePool, slug: str) -> Callable[[], bool]:
    return lambda: any(
        engine.model == slug and engine.state is ModelState.READY for engine in pool.reports()
    )


def gone(pool: EnginePool, slug: str) -> Callable[[], bool]:
    return lambda: slug not in pool.generations()


def test_what_is_wanted_is_loaded_and_nothing_else(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m", wanted=True)
    wanted.say("other")
    follower.reconcile()
    wait_until(ready(pool, "m"), "m is loaded")
    assert pool.generations() == {"m": 0}
    assert follower.generations == {"m": 0, "other": 0}


def test_what_was_loaded_at_need_stays(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m")
    process = pool.get("m")
    follower.reconcile()
    assert pool.get("m") is process


def test_a_higher_generation_ends_the_engine(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m", wanted=True)
    follower.reconcile()
    wait_until(ready(pool, "m"), "m is loaded")
    wanted.say("m", generation=1)
    follower.reconcile()
    wait_until(gone(pool, "m"), "m is gone")
    assert pool.freed()["m"].generation == 1
    follower.reconcile()
    assert pool.generations() == {}


def test_other_options_replace_the_engine_of_a_wanted_model(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m", wanted=True)
    follower.reconcile()
    wait_until(ready(pool, "m"), "m is loaded")
    wanted.say("m", generation=1, wanted=True)
    follower.reconcile()
    wait_until(lambda: pool.generations().get("m") == 1, "m is back")


def test_a_disabled_model_is_unloaded(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m", wanted=True)
    follower.reconcile()
    wait_until(ready(pool, "m"), "m is loaded")
    del wanted.models["m"]
    follower.reconcile()
    wait_until(gone(pool, "m"), "m is gone")


def test_a_model_that_nobody_uses_is_unloaded_and_forgotten(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m", generation=4, wanted=True, idle=0)
    follower.reconcile()
    wait_until(ready(pool, "m"), "m is loaded")
    follower.reconcile()
    assert wanted.forgotten == [("m", 4)]
    wanted.say("m", generation=4, idle=0)
    wait_until(gone(pool, "m"), "m is gone")
    follower.reconcile()
    assert pool.generations() == {}


def test_a_model_in_use_is_not_idle(follower: Reconciler, pool: EnginePool, wanted: Wanted) -> None:
    wanted.say("m", idle=0)
    process = pool.get("m")
    process.submit(Submit("r", Prompt(text="hang"), SamplingParams(), 60.0))
    follower.reconcile()
    assert not process.is_leaving
    process.cancel("r")
    wait_until(lambda: process.num_open == 0, "the request ends")
    follower.reconcile()
    assert process.is_leaving


def test_a_model_with_time_left_stays(
    follower: Reconciler, pool: EnginePool, wanted: Wanted
) -> None:
    wanted.say("m", idle=3600)
    process = pool.get("m")
    follower.reconcile()
    assert not process.is_leaving


def test_the_bell_wakes_the_worker(
    follower: Reconciler, pool: EnginePool, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 4.0)
    follower.start()
    try:
        wait_until(lambda: follower.generations == {} and _is_listening(), "it listens")
        wanted.say("m", wanted=True)
        model_bell.ring()
        wait_until(ready(pool, "m"), "m is loaded")
    finally:
        follower.close(10)


def test_without_a_bell_it_looks_by_itself(
    follower: Reconciler, pool: EnginePool, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_INTERVAL", 0.05)
    follower.start()
    try:
        wanted.say("m", wanted=True)
        wait_until(ready(pool, "m"), "m is loaded")
    finally:
        follower.close(10)


def test_a_look_that_fails_is_not_the_last_one(
    follower: Reconciler, pool: EnginePool, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def read() -> list[DesiredModel]:
        looks.append(1)
        if len(looks) == 1:
            raise RuntimeError("as asked")
        return wanted.read()

    monkeypatch.setattr(module, "_INTERVAL", 0.05)
    monkeypatch.setattr(follower, "_read", read)
    wanted.say("m", wanted=True)
    follower.start()
    try:
        wait_until(ready(pool, "m"), "m is loaded")
    finally:
        follower.close(10)


def _is_listening() -> bool:
    from django.conf import settings

    from llamagpu.lib.redis_client import sync_client

    ((_, num_listeners),) = sync_client(settings.REDIS_URL).pubsub_numsub("lg:models")
    return bool(num_listeners)
