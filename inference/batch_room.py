"""How many jobs of batches may run at once: what the engines' slots and memory leave beside other calls."""

from __future__ import annotations

from collections.abc import Sequence

from inference.presence import EngineReport, WorkerReport
from inference.states import ModelState

# Of an engine's slots, one in so many is left to single calls.
_SPARE_SHARE = 8
# With so much of the cache in use, or so little memory left, batches take no further slot.
_FULL_CACHE = 0.95
_LEAST_MEMORY = 256 * 1024 * 1024
#: Jobs with which a batch begins whose model no engine has loaded yet.
FIRST_JOBS = 4


def batch_width(
    engines: Sequence[EngineReport],
    *,
    num_others: int,
    num_batch_jobs: int,
    memory_available: int | None = None,
) -> int:
    """Jobs of batches that these engines may run at once, beside `num_others` of single calls.

    They have `num_batch_jobs` already. At least one, so that a batch comes to its end however busy they
    are; 0 without an engine. Reports are a second old, so they are not asked who runs.
    """
    ready = [engine for engine in engines if engine.state is ModelState.READY and engine.num_slots]
    if not ready:
        return 0
    slots = sum(_slots_of(engine) for engine in ready)
    width = most_of(slots) - num_others
    is_short = memory_available is not None and memory_available < _LEAST_MEMORY
    if is_short or min(engine.kv_cache_usage for engine in ready) >= _FULL_CACHE:
        width = min(width, num_batch_jobs)
    return max(1, width)


def most_of(num_slots: int) -> int:
    """What batches may have of so many slots where nobody else wants one."""
    return max(1, num_slots - max(1, num_slots // _SPARE_SHARE))


def model_width(
    workers: Sequence[WorkerReport], slug: str, *, num_others: int, num_batch_jobs: int
) -> int:
    """The same for all engines of a model, wherever they run. 0 without a worker."""
    if not workers:
        return 0
    engines = [engine for worker in workers for engine in worker.engines if engine.model == slug]
    available = [w.memory_available for w in workers if w.memory_available is not None]
    width = batch_width(
        engines,
        num_others=num_others,
        num_batch_jobs=num_batch_jobs,
        memory_available=max(available, default=None),
    )
    return width or FIRST_JOBS


def _slots_of(engine: EngineReport) -> int:
    """Sequences that it runs at once now: short memory lowers their number."""
    return min(engine.num_slots, int(engine.metrics.get("max_running") or engine.num_slots))
