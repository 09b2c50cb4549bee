"""Reads of what becomes of a model in the workers: how far it is loaded, whether it is gone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis
from django.conf import settings

from inference import pull_progress
from inference.models import Model
from inference.presence import EngineReport, WorkerReport
from inference.pull_progress import PullProgress
from inference.room import live
from inference.states import ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.redis_client import sync_client
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

    A model that is wanted and has no engine yet is loading, at stage `waiting for a worker`; one that
    is being fetched is downloading, and `pull` counts its bytes. `error` is the engine's, or why the
    last pull did not succeed; `note` says why it is not loaded any more where nobody asked for that.
    """

    state: ModelState
    desired_state: str
    stage: str
    fraction: float
    error: str
    engines: tuple[EngineProgress, ...]
    pull: PullProgress | None = None
    note: str = ""

    @property
    def is_settled(self) -> bool:
        """Nothing is under way."""
        return self.state not in (
            ModelState.LOADING,
            ModelState.UNLOADING,
            ModelState.DOWNLOADING,
        )


@dataclass(frozen=True, slots=True)
class Unloaded:
    """`is_gone`: no engine of before runs any more. `freed_memory` in bytes, as its processes held."""

    is_gone: bool
    freed_memory: int


def progress_of(model: Model) -> ModelProgress:
    """How far `model` is now. Raises AppError BACKEND_UNAVAILABLE."""
    if model.state == ModelState.DOWNLOADING:
        return _pull_of(model)
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
            error = model.pull_error
            return ModelProgress(ModelState(model.state), desired, "", 0.0, error, ())
        if model.is_enabled and model.is_wanted(current().default_model):
            return ModelProgress(
                ModelState.LOADING, desired, "waiting for a worker", 0.0, "", engines
            )
        notes = [freed.why for worker in workers if (freed := worker.freed.get(model.slug))]
        note = next((why for why in notes if why), "")
        return ModelProgress(ModelState.AVAILABLE, desired, "", 0.0, "", (), note=note)
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


def _pull_of(model: Model) -> ModelProgress:
    desired = str(model.desired_state)
    try:
        pull = pull_progress.read(sync_client(settings.REDIS_URL), model.slug)
    except redis.RedisError as error:
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        ) from error
    stage = pull.stage if pull else "waiting for a worker"
    fraction = pull.fraction if pull else 0.0
    return ModelProgress(ModelState.DOWNLOADING, desired, stage, fraction, "", (), pull)


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
