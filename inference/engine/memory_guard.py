"""What the engine does about short memory: give back what can be spared, compute less at once.

Two signals: an allocation that failed in a step, and, before it comes to that, how much is free. On
a CPU only the second may come: Linux hands out memory that it does not have, and then ends the
process that touches it.
"""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Sequence as SequenceOf
from typing import Protocol

from inference.engine.counters import Counters
from inference.engine.scheduler import Scheduler
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import TILE

logger = logging.getLogger(__name__)

# Failed tries after which a step's requests are given up. The budget halves and half of the sequences
# go each time, so by then a single tile of a single sequence did not fit.
MAX_TRIES = 8
# Reading the system's files takes as long as a step of a small model.
_CHECK_SECONDS = 0.5
# Memory is short below this, or below a share of what was free at the start where that was little.
_LOW_BYTES = 256 * 1024**2
_LOW_SHARE = 8


class MemorySource(Protocol):
    """The part of a backend that knows and gives back memory."""

    @property
    def free_bytes(self) -> int | None:
        """Memory that steps could still take; None where nobody knows."""

    def release_memory(self, idle_slots: SequenceOf[int]) -> int:
        """Give back what can be spared; the bytes, as far as known."""


class MemoryGuard:
    """Sets the scheduler's `prefill_budget` and `max_running`; the loop's thread calls it."""

    def __init__(self, scheduler: Scheduler, source: MemorySource, counters: Counters) -> None:
        self._scheduler = scheduler
        self._source = source
        self._counters = counters
        self._full_budget = scheduler.prefill_budget
        free = source.free_bytes
        self._low_bytes = 0 if free is None else min(_LOW_BYTES, free // _LOW_SHARE)
        self._num_failures = 0
        self._checked_at = 0.0

    def after_step(self, now: float) -> None:
        """Note a step that went well; now and then (`now` in seconds), look at the free memory."""
        self._num_failures = 0
        if now - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = now
            self.check()

    def check(self) -> None:
        """Compute less at once where memory is short, and more again where it is not."""
        free = self._source.free_bytes
        if free is not None and free < self._low_bytes:
            self._shrink(free)
        elif free is None or free > 2 * self._low_bytes:
            self._grow()

    def after_failure(self, plan: StepPlan, error: Exception) -> bool:
        """Make room after an allocation failed in a step; whether to try again.

        Nothing of the plan has been noted yet, so the next step computes the same again.
        """
        self._num_failures += 1
        if self._num_failures > MAX_TRIES:
            self._num_failures = 0
            return False
        self._counters.num_oom_retries += 1
        scheduler = self._scheduler
        # The frames of the failed step hold its tensors.
        traceback.clear_frames(error.__traceback__)
        if self._num_failures > 1:
            # Slow, and cycles that hold tensors are rare.
            gc.collect()
        for copy in plan.copies:
            # Nobody knows how far the copy went.
            scheduler.preempt(copy.sequence)
        for sequence in plan.sampled:
            sequence.rewind_random()
        scheduler.prefill_budget = max(TILE, scheduler.prefill_budget // 2)
        if self._num_failures > 1 and scheduler.num_running > 1:
            self._preempt_to(scheduler.num_running // 2)
        self._give_back()
        logger.warning(
            "out of memory, try %d: now %d sequences at once and %d prompt tokens a step (%s)",
            self._num_failures, scheduler.max_running, scheduler.prefill_budget, error,
        )  # fmt: skip
        return True

    def _shrink(self, free: int) -> None:
        self._give_back()
        scheduler = self._scheduler
        before = scheduler.max_running
        target = max(1, scheduler.num_running - max(1, scheduler.num_running // 4))
        scheduler.max_running = min(before, target)
        after = self._source.free_bytes
        if after is not None and after < self._low_bytes // 2:
            # Those who run grow with every token: waiting for them to end may take too long.
            self._preempt_to(target)
        if scheduler.max_running < before:
            logger.warning(
                "%d MiB of memory are free: at most %d sequences at once",
                free // 1024**2, scheduler.max_running,
            )  # fmt: skip

    def _grow(self) -> None:
        scheduler = self._scheduler
        scheduler.prefill_budget = min(self._full_budget, scheduler.prefill_budget + TILE)
        more = max(1, scheduler.max_running // 4)
        scheduler.max_running = min(scheduler.cache.num_slots, scheduler.max_running + more)

    def _preempt_to(self, num_running: int) -> None:
        scheduler = self._scheduler
        scheduler.max_running = max(1, min(scheduler.max_running, num_running))
        while scheduler.num_running > scheduler.max_running:
            newest = scheduler.newest()
            if newest is None:
                return
            scheduler.preempt(newest)

    def _give_back(self) -> None:
        """Contents kept for reuse go first: they only save time."""
        cache = self._scheduler.cache
        cache.forget_all()
        self._source.release_memory(cache.idle_slots())
