"""Engines come, stay and go: loading at need, keeping, unloading. Real processes without a model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psutil
import pytest

from inference.presence import EngineReport
from inference.protocol import Finished, Load, Prompt, SamplingParams, Submit
from inference.states import ModelState
from inference.worker.engine_pool import EnginePool, LoadOrder
from inference.worker.engine_process import EngineLoadError, EngineProcess
from llamagpu.lib.error_codes import ErrorCode
from tests import fakes
from tests.inference.worker.conftest import wait_until


class Orders:
    """What the database would say; `generation` may be raised, `known` emptied."""

    def __init__(self) -> None:
        self.generation = 0
        self.known: set[str] | None = None

    def __call__(self, slug: str) -> LoadOrder:
        if self.known is not None and slug not in self.known:
            raise EngineLoadError(ErrorCode.MODEL_NOT_FOUND, f"There is no model '{slug}'.")
        return LoadOrder(Load(model_path=slug), self.generation)


@pytest.fixture
def orders() -> Orders:
    return Orders()


@pytest.fixture
def pool(orders: Orders) -> Iterator[EnginePool]:
    made = EnginePool(orders, fakes.COMMAND)
    yield made
    made.close(1.0)


def unload(pool: EnginePool, slug: str, generation: int = 1, **conditions: Any) -> bool:
    return pool.unload(slug, drain_timeout=5.0, generation=generation, **conditions)


def report(pool: EnginePool, slug: str) -> EngineReport | None:
    return next((engine for engine in pool.reports() if engine.model == slug), None)


def gone(pool: EnginePool, slug: str) -> Callable[[], bool]:
    return lambda: report(pool, slug) is None


def ask(process: EngineProcess, text: str, request_id: str = "r") -> Any:
    return process.submit(Submit(request_id, Prompt(text=text), SamplingParams(), 60.0))


def test_unloading_ends_the_process_and_tells_what_it_held(pool: EnginePool) -> None:
    process = pool.get("m")
    assert unload(pool, "m", generation=7)
    wait_until(gone(pool, "m"), "the engine is gone")
    assert not psutil.pid_exists(process.pid)
    freed = pool.freed()["m"]
    assert freed.generation == 7
    assert freed.num_bytes > 1_000_000


def test_the_engines_of_other_models_are_not_touched(pool: EnginePool) -> None:
    pool.get("m")
    other = pool.get("other")
    unload(pool, "m")
    wait_until(gone(pool, "m"), "the engine is gone")
    assert pool.get("other") is other
    assert psutil.pid_exists(other.pid)


def test_what_is_not_loaded_cannot_be_unloaded(pool: EnginePool) -> None:
    assert not unload(pool, "m")
    pool.get("m")
    assert unload(pool, "m")
    assert not unload(pool, "m")


def test_a_request_after_the_unloading_loads_again(pool: EnginePool, orders: Orders) -> None:
    first = pool.get("m")
    orders.generation = 1
    unload(pool, "m")
    second = pool.get("m")  # waits for the old process to go
    assert second is not first
    assert not psutil.pid_exists(first.pid)
    ticket = ask(second, "say hi")
    assert isinstance([ticket.next_event(30) for _ in range(3)][-1], Finished)
    assert pool.generations() == {"m": 1}


def test_requests_that_the_drain_cuts_off_are_told(pool: EnginePool) -> None:
    ticket = ask(pool.get("m"), "hang")
    unload(pool, "m")
    seen = [ticket.next_event(30) for _ in range(3)]
    assert getattr(seen[-1], "code", None) is ErrorCode.NO_WORKER


def test_who_waits_for_a_loading_engine_gets_the_next_one(pool: EnginePool) -> None:
    got: list[EngineProcess | EngineLoadError] = []

    def wait() -> None:
        try:
            got.append(pool.get("slow", timeout=20))
        except EngineLoadError as error:
            got.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    first = wait_until(lambda: report(pool, "slow"), "it loads")
    assert first.state is ModelState.LOADING
    unload(pool, "slow")
    again = wait_until(
        lambda: (found := report(pool, "slow")) and found.pid != first.pid and found, "a new one"
    )
    assert again.state is ModelState.LOADING
    assert got == []  # its caller has not been refused
    pool.close(0.1)
    waiting.join(30)


def test_a_model_that_nobody_knows_any_more_is_not_loaded_again(
    pool: EnginePool, orders: Orders
) -> None:
    pool.get("m")
    orders.known = set()
    unload(pool, "m")
    with pytest.raises(EngineLoadError) as caught:
        pool.get("m")
    assert caught.value.code is ErrorCode.MODEL_NOT_FOUND


def test_a_kept_model_comes_back_with_its_new_order(pool: EnginePool, orders: Orders) -> None:
    pool.keep("m")
    first = wait_until(lambda: report(pool, "m"), "loaded")
    orders.generation = 3
    unload(pool, "m", generation=3)
    wait_until(lambda: pool.generations().get("m") == 3, "it is back")
    assert report(pool, "m").pid != first.pid  # type: ignore[union-attr]


def test_a_released_model_stays_away(pool: EnginePool, orders: Orders) -> None:
    pool.keep("m")
    pool.get("m")
    pool.release("m")
    unload(pool, "m")
    wait_until(gone(pool, "m"), "the engine is gone")
    assert pool.generations() == {}


def test_a_kept_model_that_failed_is_tried_again_when_it_is_unloaded(
    pool: EnginePool, orders: Orders
) -> None:
    pool.keep("broken")
    wait_until(lambda: _state(pool, "broken") is ModelState.FAILED, "it fails")
    orders.generation = 1
    unload(pool, "broken")
    wait_until(lambda: pool.generations().get("broken") == 1, "another try")


def test_only_an_engine_without_use_is_unloaded_for_that(pool: EnginePool) -> None:
    process = pool.get("m")
    assert not unload(pool, "m", idle_for=3600.0)
    ask(process, "hang")
    assert not unload(pool, "m", idle_for=0.0)
    process.cancel("r")
    wait_until(lambda: process.num_open == 0, "the request ends")
    assert unload(pool, "m", idle_for=0.0)


def test_a_loading_engine_is_never_idle(pool: EnginePool) -> None:
    pool.keep("slow")
    assert not unload(pool, "slow", idle_for=0.0)


def test_an_engine_says_how_it_stands(pool: EnginePool) -> None:
    pool.get("m")
    found = report(pool, "m")
    assert found is not None
    assert replace(found, pid=1, idle_for=0.0) == EngineReport(
        model="m",
        state=ModelState.READY,
        progress=1.0,
        pid=1,
        backend="cpu",
        device="cpu",
        dtype="float32",
        max_model_len=100,
        num_slots=4,
    )


def _state(pool: EnginePool, slug: str) -> ModelState | None:
    found = report(pool, slug)
    return found.state if found else None
