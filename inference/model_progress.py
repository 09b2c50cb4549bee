"""Reads of what becomes of a model in the workers: how far it is loaded, whether it is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inference.models import Model
from inference.presence import EngineReport, WorkerReport
from inference.room import live
from inference.states import ModelState
from monitoring.configuration import current

_POLL = 0.1
# The state that speaks for several engines: what hurts first, then what is under way.
_ORDER = (ModelState.FAILED, ModelState.UNLOADING, ModelState.LOADING, ModelState.READY)


@dataclass(frozen=True, slots=True)
class EngineProgress:
    """One worker's engine of the model. `fraction` is 0..1 of `stage`."""

    worker: str
    state: ModelState
    stage: str
    fraction: float
    error: str
    memory: int


@dataclass(frozen=True, slots=True)
class ModelProgress:
    """`state` sums up all engines: failed, unloading, loading or ready; available where there is none.

    A model that is wanted and has no engine yet is loading, at stage `waiting for a worker`.
    """

    state: ModelState
    desired_state: str
    stage: str
    fraction: float
    error: str
    engines: tuple[EngineProgress, ...]

    @property
    def is_settled(self) -> bool:
        """Nothing is under way."""
        return self.state not in (ModelState.LOADING, ModelState.UNLOADING)


@dataclass(frozen=True, slots=True)
class Unloaded:
    """`is_gone`: no engine of before runs any more. `freed_memory` in bytes, as its processes held."""

    is_gone: bool
    freed_memory: int


def progress_of(model: Model) -> ModelProgress:
    """How far `model` is now. Raises AppError BACKEND_UNAVAILABLE."""
    workers = live()
    engines = tuple(
        _engine(worker, engine, model)
        for worker in workers
        for engine in worker.engines
        if engine.model == model.slug
    )
    desired = str(model.desired_state)
    if not engines:
        if model.state != ModelState.AVAILABLE:
            return ModelProgress(ModelState(model.state), desired, "", 0.0, "", ())
        if model.is_enabled and model.is_wanted(current().default_model):
            return ModelProgress(
                ModelState.LOADING, desired, "waiting for a worker", 0.0, "", engines
            )
        return ModelProgress(ModelState.AVAILABLE, desired, "", 0.0, "", ())
    slowest = min(engines, key=lambda engine: (_ORDER.index(engine.state), engine.fraction))
    return ModelProgress(
        slowest.state, desired, slowest.stage, slowest.fraction, slowest.error, engines
    )


def running_engines() -> list[dict[str, Any]]:
    """Every engine of every worker, ready for JSON. Raises AppError BACKEND_UNAVAILABLE."""
    return [
        {"worker": worker.name, "host": worker.host} | asdict(engine)
        for worker in live()
        for engine in worker.engines
    ]


def wait_until_gone(model: Model, *, patience: float) -> Unloaded:
    """Wait at most `patience` seconds for the end of the engines of before `model.generation`.

    Raises AppError BACKEND_UNAVAILABLE.
    """
    deadline = time.monotonic() + patience
    while True:
        workers = live()
        is_gone = all(_has_let_go(worker, model) for worker in workers)
        if is_gone or time.monotonic() >= deadline:
            return Unloaded(is_gone, _freed(workers, model))
        time.sleep(_POLL)


def _engine(worker: WorkerReport, engine: EngineReport, model: Model) -> EngineProgress:
    is_old = engine.generation < model.generation
    return EngineProgress(
        worker=worker.name,
        state=ModelState.UNLOADING if is_old else engine.state,
        stage=engine.stage,
        fraction=engine.progress,
        error=engine.error,
        memory=engine.resident_bytes,
    )


def _has_let_go(worker: WorkerReport, model: Model) -> bool:
    """The worker knows of the change, and no engine of before is left there."""
    is_followed = model.is_enabled and model.state == ModelState.AVAILABLE
    if is_followed and worker.generations.get(model.slug, -1) < model.generation:
        return False
    return not any(
        engine.model == model.slug and engine.generation < model.generation
        for engine in worker.engines
    )


def _freed(workers: Sequence[WorkerReport], model: Model) -> int:
    told = [worker.freed.get(model.slug) for worker in workers]
    return sum(freed.num_bytes for freed in told if freed and freed.generation >= model.generation)
