"""Decides what each step computes: every decoding sequence, and prompts as far as the budget goes.

Continuous batching with chunked prefill (Agrawal et al., Sarathi-Serve, 2024): a long prompt is
computed over several steps, so the streams of the others go on meanwhile.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from inference.engine.errors import RequestError
from inference.engine.kv_cache.base import CacheAccounting
from inference.engine.sequence import Sequence, SequenceState
from inference.engine.tiling import TILE
from llamagpu.lib.error_codes import ErrorCode


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """Positions `start` to `end` (exclusive) of a sequence. `start` is a multiple of TILE.

    After the last chunk a token is sampled. `num_logits` asks for the logits of that many of the
    chunk's last rows (None: of the one that is sampled).
    """

    sequence: Sequence
    start: int
    end: int
    is_last: bool
    num_logits: int | None = None

    @property
    def logit_rows(self) -> int:
        """How many of the chunk's last rows need logits."""
        return int(self.is_last) if self.num_logits is None else self.num_logits


@dataclass(frozen=True, slots=True)
class StepPlan:
    """One step's work. `started` are the sequences that left the waiting queue for it."""

    decodes: tuple[Sequence, ...] = ()
    chunks: tuple[PrefillChunk, ...] = ()
    started: tuple[Sequence, ...] = ()

    @property
    def sampled(self) -> tuple[Sequence, ...]:
        """The sequences that get a token, in the order of the runner's logits."""
        return self.decodes + tuple(chunk.sequence for chunk in self.chunks if chunk.is_last)

    @property
    def sequences(self) -> tuple[Sequence, ...]:
        return self.decodes + tuple(chunk.sequence for chunk in self.chunks)


class Scheduler:
    """Waiting queue, running set and cache places. One thread calls it; no clock, no device."""

    def __init__(self, cache: CacheAccounting, *, prefill_budget: int, max_waiting: int) -> None:
        self._cache = cache
        self._prefill_budget = prefill_budget
        self._max_waiting = max_waiting
        self._waiting: list[tuple[tuple[int, int], Sequence]] = []
        self._running: dict[str, Sequence] = {}
        self._by_id: dict[str, Sequence] = {}

    @property
    def has_work(self) -> bool:
        return bool(self._by_id)

    @property
    def num_running(self) -> int:
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        return len(self._by_id) - len(self._running)

    @property
    def num_cached_tokens(self) -> int:
        return sum(sequence.num_computed for sequence in tuple(self._running.values()))

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises RequestError QUEUE_FULL, or INVALID_INPUT for an id in use.

        A sequence that could start in the next step is no one's backlog and always taken.
        """
        if sequence.request_id in self._by_id:
            raise RequestError("this request id is in use", ErrorCode.INVALID_INPUT)
        if self.num_waiting >= self._max_waiting + self._cache.num_free:
            raise RequestError(
                f"{self.num_waiting} requests are waiting already; try again later",
                ErrorCode.QUEUE_FULL,
            )
        self._by_id[sequence.request_id] = sequence
        heapq.heappush(self._waiting, (sequence.order, sequence))

    def find(self, request_id: str) -> Sequence | None:
        return self._by_id.get(request_id)

    def all(self) -> list[Sequence]:
        return list(self._by_id.values())

    def expired(self, now: float) -> list[Sequence]:
        """The sequences, waiting or running, whose deadline has passed."""
        return [sequence for sequence in self._by_id.values() if sequence.deadline <= now]

    def schedule(self) -> StepPlan:
        """The next step. Admits waiting sequences: they own a slot and are PREFILLING after it."""
        running = self._running.values()
        # Sorted by slot, so that equal sets of sequences give equal batches.
        decodes = sorted(
            (s for s in running if s.state is SequenceState.DECODING), key=lambda s: s.slot or 0
        )
        # The budget bounds the whole step, but a prompt always gets one tile: it cannot starve.
        budget = max(TILE, self._prefill_budget - len(decodes))
        prefilling = sorted(
            (s for s in running if s.state is SequenceState.PREFILLING), key=lambda s: s.order
        )
        chunks: list[PrefillChunk] = []
        started: list[Sequence] = []
        for sequence in prefilling:
            budget = _add_chunk(chunks, sequence, budget)
        while budget > 0 and (candidate := self._peek_admissible()) is not None:
            if _chunk_size(candidate.num_tokens, budget) == 0:
                break
            self._admit(candidate)
            started.append(candidate)
            budget = _add_chunk(chunks, candidate, budget)
        return StepPlan(tuple(decodes), tuple(chunks), tuple(started))

    def advance(self, plan: StepPlan) -> None:
        """Note that the step's keys and values are in the cache."""
        for sequence in plan.decodes:
            sequence.num_computed += 1
        for chunk in plan.chunks:
            chunk.sequence.num_computed = chunk.end
            if chunk.is_last:
                chunk.sequence.move_to(SequenceState.DECODING)

    def finish(self, sequence: Sequence) -> None:
        """End a sequence in whatever state; its slot is free for the next step."""
        sequence.move_to(SequenceState.FINISHED)
        del self._by_id[sequence.request_id]
        self._running.pop(sequence.request_id, None)
        if sequence.slot is not None:
            self._cache.free(sequence.slot)
            sequence.slot = None

    def _peek_admissible(self) -> Sequence | None:
        while self._waiting and self._waiting[0][1].is_finished:
            heapq.heappop(self._waiting)
        if not self._waiting:
            return None
        return self._waiting[0][1] if self._cache.num_free else None

    def _admit(self, sequence: Sequence) -> None:
        heapq.heappop(self._waiting)
        place = self._cache.allocate(_peak_tokens(sequence))
        if place is None:
            raise RuntimeError("a free slot was not there")
        sequence.slot = place.slot
        sequence.move_to(SequenceState.PREFILLING)
        self._running[sequence.request_id] = sequence


def _peak_tokens(sequence: Sequence) -> int:
    return len(sequence.prompt_ids) + sequence.params.max_tokens


def _add_chunk(chunks: list[PrefillChunk], sequence: Sequence, budget: int) -> int:
    """Append as much of `sequence` as fits; the budget that is left, 0 where it did not fit."""
    remaining = sequence.num_tokens - sequence.num_computed
    size = _chunk_size(remaining, budget)
    if size == 0:
        return 0
    start = sequence.num_computed
    chunks.append(PrefillChunk(sequence, start, start + size, is_last=size == remaining))
    return budget - size


def _chunk_size(remaining: int, budget: int) -> int:
    """Tokens of a chunk: all that remain, or as many whole tiles as the budget holds."""
    return remaining if remaining <= budget else budget // TILE * TILE
