"""Which workers hold a model of which only some shall, and how busy each of them is.

Every process works this out from the workers' reports alone, so all come to the same answer: who has the
model keeps it, then who has room for it, then an order that follows from the names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inference.presence import EngineReport, WorkerReport
from inference.states import ModelState

# Of an engine: the lower, the better a place for the model.
_STANDING = {ModelState.READY: 0, ModelState.LOADING: 1, ModelState.FAILED: 4}
_FREE, _TOO_SMALL = 2, 3


@dataclass(frozen=True, slots=True)
class Placed:
    """A model to place. `replicas` None is every worker; `needed` are the fewest bytes it can take."""

    slug: str
    replicas: int | None = None
    needed: int = 0


def chosen_workers(model: Placed, workers: Iterable[WorkerReport]) -> tuple[str, ...]:
    """The names of the workers that shall hold `model`, the best place first."""
    ranked = sorted(workers, key=lambda worker: _rank(model, worker))
    return tuple(worker.name for worker in ranked[: model.replicas])


def least_busy(slug: str, workers: Sequence[WorkerReport], sent: dict[str, int]) -> WorkerReport:
    """Of several workers, the one whose engine of the model has the smallest share of its places taken.

    `sent` counts by name what was given to each since its report.
    """

    def load(worker: WorkerReport) -> tuple[float, str]:
        engine = engine_of(worker, slug)
        if engine is None or engine.state is not ModelState.READY:
            taken, places = worker.num_active_jobs, 1
        else:
            taken, places = engine.num_running + engine.num_waiting, max(1, engine.num_slots)
        return (taken + sent.get(worker.name, 0)) / places, worker.name

    return min(workers, key=load)


def engine_of(worker: WorkerReport, slug: str) -> EngineReport | None:
    return next((engine for engine in worker.engines if engine.model == slug), None)


def _rank(model: Placed, worker: WorkerReport) -> tuple[int, bytes]:
    engine = engine_of(worker, model.slug)
    limit = worker.memory_limit
    if engine is not None and engine.state in _STANDING:
        tier = _STANDING[engine.state]
    else:
        tier = _FREE if limit is None or limit >= model.needed else _TOO_SMALL
    return tier, hashlib.sha256(f"{model.slug}\0{worker.name}".encode()).digest()
