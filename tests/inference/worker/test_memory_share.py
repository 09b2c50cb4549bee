"""All engines of a worker stay within one limit."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from inference.protocol import Load
from inference.states import ModelState
from inference.worker.engine_pool import EnginePool, LoadOrder
from inference.worker.memory_share import grant, held_bytes
from tests import fakes
from tests.environment import MODEL_ROOT

GIB = 1024**3
SMALL = Load(str(MODEL_ROOT / "smollm2-135m-instruct"), max_memory_bytes=8 * GIB)


def engine(state: ModelState = ModelState.READY, **fields: Any) -> Any:
    defaults: dict[str, Any] = {"info": None, "stats": None, "load": SMALL}
    return SimpleNamespace(state=state, **{**defaults, **fields})


def loaded(reserved: int, resident: int = 0) -> Any:
    stats = SimpleNamespace(resident_bytes=resident) if resident else None
    return engine(info=SimpleNamespace(reserved_bytes=reserved), stats=stats)


def test_the_first_engine_may_have_the_whole_limit() -> None:
    assert grant(Load("x"), 8 * GIB, []).max_memory_bytes == 8 * GIB
    assert grant(Load("x"), None, []).max_memory_bytes == 0


def test_the_next_gets_what_the_others_leave() -> None:
    others = [loaded(3 * GIB), loaded(GIB, resident=2 * GIB), engine(ModelState.FAILED)]
    assert grant(Load("x"), 8 * GIB, others).max_memory_bytes == 3 * GIB
    assert grant(Load("x"), 4 * GIB, others).max_memory_bytes == 1


def test_an_engine_that_loads_counts_with_what_it_will_reserve() -> None:
    held = held_bytes(engine(ModelState.LOADING))
    assert GIB < held < 8 * GIB
    nothing = engine(ModelState.LOADING, load=Load("/no/such/folder"))
    assert held_bytes(nothing) == 0


def test_the_pool_hands_the_shares_out() -> None:
    pool = EnginePool(
        lambda slug: LoadOrder(Load(model_path=slug)), fakes.COMMAND, memory_limit=8 * GIB
    )
    try:
        first = pool.get("first")
        assert first.load.max_memory_bytes == 8 * GIB
        second = pool.get("second")
        left = 8 * GIB - held_bytes(first)
        assert second.load.max_memory_bytes == pytest.approx(left)
    finally:
        pool.close(1.0)


def test_a_pool_without_a_limit_sets_none() -> None:
    pool = EnginePool(lambda slug: LoadOrder(Load(model_path=slug)), fakes.COMMAND)
    try:
        assert pool.get("first").load.max_memory_bytes == 0
    finally:
        pool.close(1.0)
