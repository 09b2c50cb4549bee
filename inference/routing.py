"""Stage 3/7, between row and message: to which worker's queue a job goes.

With one worker there is one queue. With several, each listens to the common queue and to one of its own:
a job goes to the least busy of those that have its model, so that no worker loads what another one holds.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from inference.dispatch import QUEUE, queue_of
from inference.models import Model
from inference.placement import Placed, chosen_workers, engine_of, least_busy
from inference.presence import WorkerReport
from inference.states import ModelState

#: Seconds that the workers' reports count here, and that a job counts which they do not show yet.
LIFETIME = 2.0
# The fewest bytes in which a parameter is served.
_LEAST_BYTES = 1.05


class Router:
    """What one process knows: the last reports, and what it has sent since."""

    def __init__(self) -> None:
        self._workers: tuple[WorkerReport, ...] = ()
        self._noted_at = float("-inf")
        self._sent: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def note(self, workers: Sequence[WorkerReport]) -> None:
        """The workers of now, as somebody has just read them."""
        self._workers, self._noted_at = tuple(workers), time.monotonic()

    def queue_for(self, model: Model) -> str:
        """The queue for a job of `model`. The common one where it makes no difference."""
        workers = self._workers
        if len(workers) < 2 or time.monotonic() - self._noted_at > LIFETIME:
            return QUEUE
        candidates = candidates_for(model, workers)
        with self._lock:
            chosen = least_busy(model.slug, candidates, self._counts())
            self._sent.setdefault(chosen.name, deque()).append(time.monotonic())
        return queue_of(chosen.name)

    def _counts(self) -> dict[str, int]:
        """What was sent lately, by worker."""
        old = time.monotonic() - LIFETIME
        for name, moments in list(self._sent.items()):
            while moments and moments[0] < old:
                moments.popleft()
            if not moments:
                del self._sent[name]
        return {name: len(moments) for name, moments in self._sent.items()}


def candidates_for(model: Model, workers: Sequence[WorkerReport]) -> list[WorkerReport]:
    """Workers that have the model; else those that are loading it; else those that shall.

    One that has it and shall not any more is passed over as soon as another one has it.
    """
    chosen = chosen_workers(placed(model, model.replicas), workers)
    wanted = [worker for worker in workers if worker.name in chosen]
    for state in (ModelState.READY, ModelState.LOADING):
        for group in (wanted, workers):
            found = [worker for worker in group if _stands(worker, model.slug, state)]
            if found:
                return found
    return [worker for worker in wanted if worker.name in chosen[: model.replicas or 1]]


def placed(model: Model, replicas: int | None) -> Placed:
    needed = 0 if model.is_remote else int(model.num_parameters * _LEAST_BYTES)
    return Placed(model.slug, replicas, needed)


def _stands(worker: WorkerReport, slug: str, state: ModelState) -> bool:
    engine = engine_of(worker, slug)
    return engine is not None and engine.state is state


_router = Router()


def note_workers(workers: Sequence[WorkerReport]) -> None:
    """Remember the workers that this process has just read."""
    _router.note(workers)


def queue_for(model: Model) -> str:
    """The queue for a job of `model`, from what this process has noted lately."""
    return _router.queue_for(model)
