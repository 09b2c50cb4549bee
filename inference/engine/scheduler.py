"""Decides what each step computes: every decoding sequence, and prompts as far as the budget goes.

Continuous batching with chunked prefill (Agrawal et al., Sarathi-Serve, 2024): a long prompt is
computed over several steps, so the streams of the others go on meanwhile. Who waits is admitted by
`inference.engine.fair_queue`, prompts share a step by `inference.engine.prefill_share`.
"""

from __future__ import annotations

import math
import sys
from bisect import insort
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from inference.engine.errors import RequestError
from inference.engine.fair_queue import FairQueue
from inference.engine.kv_cache.base import CacheAccounting, Place
from inference.engine.prefill_share import share_budget, would_get_some
from inference.engine.sequence import Sequence, SequenceState
from inference.engine.step_plan import PrefillChunk, PrefixCopy, StepPlan, Verification
from inference.engine.tiling import TILE
from llamagpu.lib.error_codes import ErrorCode

Propose = Callable[[Sequence], tuple[int, ...]]


class StepLimit(Protocol):
    """How many tokens the next step may hold; `is_shared`: some of it are others' next tokens."""

    def __call__(self, *, is_shared: bool) -> int:
        """Tokens."""


def _unlimited(*, is_shared: bool) -> int:
    return sys.maxsize


class Scheduler:
    """Waiting queue, running set and cache places. One thread calls it; no clock, no device.

    `max_running` and `prefill_budget` may be changed between steps. Where decode rows and chunks
    round differently (`rounds_alike` False), what a preempted sequence had decoded is computed anew
    as decode rows; otherwise it is computed in chunks like a prompt.
    """

    def __init__(
        self,
        cache: CacheAccounting,
        *,
        prefill_budget: int,
        max_waiting: int,
        step_limit: StepLimit = _unlimited,
        scored_rows: int = sys.maxsize,
    ) -> None:
        """At most `scored_rows` rows of a step are scored prompts: whole tiles."""
        self.cache = cache
        self.prefill_budget = prefill_budget
        self._scored_rows = scored_rows
        self.step_limit = step_limit
        self.max_running = cache.num_slots
        self.rounds_alike = True
        self.num_preemptions = 0
        self._max_waiting = max_waiting
        self._waiting = FairQueue()
        self._by_id: dict[str, Sequence] = {}
        self._running: dict[str, Sequence] = {}
        self._decoding: list[Sequence] = []  # by slot: equal sets of sequences give equal batches
        self._prefilling: dict[str, Sequence] = {}
        self._priorities: Counter[int] = Counter()  # of those who run
        self._next_deadline = math.inf
        self._is_oldest_first = True
        self._was_short = False

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
        """Tokens that running sequences have in the cache."""
        return sum(sequence.num_computed for sequence in tuple(self._running.values()))

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence. Raises RequestError QUEUE_FULL, or INVALID_INPUT for an id in use.

        A sequence that could start in the next step is no one's backlog and always taken. A queue
        that others have filled still takes a caller's share of it.
        """
        if sequence.request_id in self._by_id:
            raise RequestError("this request id is in use", ErrorCode.INVALID_INPUT)
        num_free = min(self.cache.num_free, max(0, self.max_running - len(self._running)))
        limit = self._max_waiting + num_free
        if self.num_waiting >= limit and not self._is_owed_a_place(sequence.tenant, limit):
            raise RequestError(
                f"{self.num_waiting} requests are waiting already; try again later",
                ErrorCode.QUEUE_FULL,
            )
        sequence.name_blocks(rounds_alike=self.rounds_alike)
        self._by_id[sequence.request_id] = sequence
        self._next_deadline = min(self._next_deadline, sequence.deadline)
        self._waiting.add(sequence)

    def find(self, request_id: str) -> Sequence | None:
        return self._by_id.get(request_id)

    def all(self) -> list[Sequence]:
        return list(self._by_id.values())

    def expired(self, now: float) -> list[Sequence]:
        """The sequences, waiting or running, whose deadline has passed."""
        if now < self._next_deadline:
            return []
        self._next_deadline = min(
            (s.deadline for s in self._by_id.values() if s.deadline > now), default=math.inf
        )
        late = [sequence for sequence in self._by_id.values() if sequence.deadline <= now]
        if late:
            # Whoever calls may end them only later, and must find them again until then.
            self._next_deadline = now
        return late

    def schedule(self, propose: Propose | None = None) -> StepPlan:
        """The next step. Admits waiting sequences: they own a place and are PREFILLING after it.

        `propose` gives drafts for a decoding sequence; it is asked only in steps without prompts.
        """
        self._was_short = False
        stranded = self._make_room()
        # The budget bounds the whole step, but a prompt always gets one tile: it cannot starve.
        limit = min(self.prefill_budget, self.step_limit(is_shared=bool(self._decoding)))
        budget = max(TILE, limit - len(self._decoding))
        started, copies = self._admit(budget, stranded)
        chunks: list[PrefillChunk] = []
        rows: list[Verification] = []
        if self._prefilling:
            self._is_oldest_first = not self._is_oldest_first
            prefilling = list(self._prefilling.values())
            left = self._scored_rows
            for sequence, share in share_budget(
                prefilling, budget, is_oldest_first=self._is_oldest_first
            ):
                size = share
                if sequence.wants_scores:
                    size = share if share <= left else left // TILE * TILE
                    left -= size
                if size:
                    _plan_prefill(sequence, size, chunks, rows)
        elif propose is not None:
            rows = self._plan_drafts(propose)
        decodes = tuple(self._decoding)
        if rows or stranded:
            others = {row.sequence.request_id for row in rows}
            others.update(sequence.request_id for sequence in stranded)
            decodes = tuple(s for s in decodes if s.request_id not in others)
        return StepPlan(
            decodes, tuple(chunks), tuple(started), tuple(rows), tuple(copies), tuple(stranded)
        )

    def advance(self, plan: StepPlan) -> None:
        """Note that the step's keys and values are in the cache; drafts are left to `accept`."""
        charge = self._waiting.charge
        for sequence in plan.decodes:
            sequence.num_computed += 1
            if not sequence.num_computed % TILE:
                self._publish(sequence)
            charge(sequence.tenant, 1)
        for row in plan.verifications:
            if row.sequence.state is SequenceState.PREFILLING:
                self._advance_prefill(row.sequence, row.end)
        for chunk in plan.chunks:
            self._advance_prefill(chunk.sequence, chunk.end)

    def accept(self, verification: Verification, num_tokens: int) -> None:
        """Note that `num_tokens` of a verification's rows fed tokens that turned out right."""
        sequence = verification.sequence
        sequence.num_computed = verification.start + num_tokens
        self._publish(sequence)
        self._waiting.charge(sequence.tenant, num_tokens)

    def finish(self, sequence: Sequence) -> None:
        """End a sequence in whatever state; its place is free for the next step."""
        was_waiting = sequence.state is SequenceState.WAITING
        sequence.move_to(SequenceState.FINISHED)
        del self._by_id[sequence.request_id]
        if was_waiting:
            self._waiting.bury(sequence)
        else:
            self._leave(sequence)
        if not self._by_id:
            self._waiting.rest()

    def preempt(self, sequence: Sequence) -> None:
        """Send a running sequence back to wait; its output so far stays and is computed anew."""
        sequence.move_to(SequenceState.WAITING)
        self._leave(sequence)
        sequence.num_computed = 0
        sequence.num_preemptions += 1
        self.num_preemptions += 1
        self._waiting.add(sequence)

    def newest(self) -> Sequence | None:
        """The running sequence to preempt first: of the lowest priority the latest arrival."""
        return max(self._running.values(), key=lambda s: s.order, default=None)

    def preempt_all(self) -> None:
        """Send all back to wait and forget what the cache holds: another runner will fill it."""
        for sequence in list(self._running.values()):
            self.preempt(sequence)
        self.cache.forget_all()

    def set_rounding(self, *, rounds_alike: bool) -> None:
        """Say what the runner's kernels do. Only while nothing is in the cache."""
        self.rounds_alike = rounds_alike
        for sequence in self._by_id.values():
            sequence.name_blocks(rounds_alike=rounds_alike)

    def _is_owed_a_place(self, tenant: str, limit: int) -> bool:
        """Whether a full queue was filled by others. It never grows beyond twice its limit."""
        num_own = self._waiting.num_waiting(tenant)
        num_tenants = self._waiting.num_tenants + (num_own == 0)
        return num_own < limit // num_tenants and self.num_waiting < 2 * limit

    def _leave(self, sequence: Sequence) -> None:
        del self._running[sequence.request_id]
        self._priorities[sequence.priority] -= 1
        if not self._priorities[sequence.priority]:
            del self._priorities[sequence.priority]
        if self._prefilling.pop(sequence.request_id, None) is None:
            self._decoding.remove(sequence)
        if sequence.slot is not None:
            self.cache.free(sequence.slot)
            sequence.slot = None

    def _make_room(self) -> list[Sequence]:
        """See that every decoding sequence can store a token; who cannot even alone is returned."""
        stranded: list[Sequence] = []
        for sequence in tuple(self._decoding):
            while sequence.slot is not None and sequence.num_computed >= sequence.room:
                if self._grow(sequence, sequence.num_computed + 1):
                    break
                self._was_short = True
                victim = self.newest()
                if len(self._running) == 1 or victim is None:
                    stranded.append(sequence)
                    break
                self.preempt(victim)
        return stranded

    def _grow(self, sequence: Sequence, num_tokens: int) -> bool:
        if sequence.slot is None:
            raise RuntimeError(f"{sequence.request_id} has no place that could grow")
        sequence.room = self.cache.grow(sequence.slot, num_tokens)
        return sequence.room >= num_tokens

    def _admit(
        self, budget: int, stranded: list[Sequence]
    ) -> tuple[list[Sequence], list[PrefixCopy]]:
        """Give places to those who wait, as long as they would get some of the budget."""
        started: list[Sequence] = []
        copies: list[PrefixCopy] = []
        while not self._was_short and (candidate := self._waiting.peek()) is not None:
            if not self._is_worth_starting(candidate, budget):
                break
            if not self._has_free_slot() and not self._preempt_for(candidate):
                break
            place = self._find_place(candidate)
            if place is None:
                if not self._running:
                    # Nobody is left who could give way, now or later.
                    stranded.append(candidate)
                break
            self._waiting.take(candidate)
            self._start(candidate, place)
            if place.copy_from is not None:
                copies.append(PrefixCopy(candidate, place.copy_from, place.num_cached))
            if not candidate.num_preemptions:
                started.append(candidate)
        return started, copies

    def _has_free_slot(self) -> bool:
        return self.cache.num_free > 0 and len(self._running) < self.max_running

    def _preempt_for(self, candidate: Sequence) -> bool:
        """Whether someone of strictly lower priority gave way."""
        if not self._priorities or min(self._priorities) >= candidate.priority:
            return False
        victim = self.newest()
        if victim is None:
            return False
        self.preempt(victim)
        return True

    def _find_place(self, candidate: Sequence) -> Place | None:
        """A place for what the sequence has so far and its next token, if need be by preemption."""
        keys = candidate.reusable_keys()
        while True:
            place = self.cache.allocate(candidate.num_tokens, keys)
            if place is not None or not self._preempt_for(candidate):
                return place

    def _is_worth_starting(self, candidate: Sequence, budget: int) -> bool:
        """Whether it gets some of this step. A tenant without a prompt in progress always begins:
        nobody's giant prompt may hold up another's short one behind it.
        """
        prefilling = self._prefilling.values()
        if not prefilling or all(s.tenant != candidate.tenant for s in prefilling):
            return True
        num_known = self.cache.match(candidate.reusable_keys())
        num_pending = candidate.num_tokens - num_known
        return would_get_some(prefilling, candidate, num_pending, budget)

    def _start(self, sequence: Sequence, place: Place) -> None:
        sequence.slot, sequence.room = place.slot, place.room
        sequence.num_computed = place.num_cached
        num_prompt, num_output = len(sequence.prompt_ids), len(sequence.output_ids)
        if num_output and not self.rounds_alike:
            # The last output token is fed by an ordinary decode.
            sequence.chunk_end, sequence.prefill_end = num_prompt, sequence.num_tokens - 1
        else:
            sequence.chunk_end = sequence.prefill_end = sequence.num_tokens
        if not sequence.num_preemptions:
            sequence.num_cached = place.num_cached
            self._waiting.charge(sequence.tenant, num_prompt - place.num_cached)
        if sequence.pool is not None:
            sequence.pool.clear()
        sequence.move_to(SequenceState.PREFILLING)
        self._running[sequence.request_id] = sequence
        self._prefilling[sequence.request_id] = sequence
        self._priorities[sequence.priority] += 1
        if not sequence.num_pending:
            self._start_decoding(sequence)

    def _advance_prefill(self, sequence: Sequence, end: int) -> None:
        sequence.num_computed = end
        self._publish(sequence)
        if not sequence.num_pending:
            self._start_decoding(sequence)

    def _start_decoding(self, sequence: Sequence) -> None:
        sequence.move_to(SequenceState.DECODING)
        del self._prefilling[sequence.request_id]
        insort(self._decoding, sequence, key=slot_of)

    def _publish(self, sequence: Sequence) -> None:
        self.cache.publish(slot_of(sequence), sequence.block_keys(sequence.num_computed))

    def _plan_drafts(self, propose: Propose) -> list[Verification]:
        rows: list[Verification] = []
        for sequence in self._decoding:
            drafts = propose(sequence)
            start = sequence.num_computed
            needed = start + 1 + len(drafts)
            if drafts and (needed <= sequence.room or self._grow(sequence, needed)):
                rows.append(Verification(sequence, start, drafts))
        return rows


def _plan_prefill(
    sequence: Sequence, size: int, chunks: list[PrefillChunk], rows: list[Verification]
) -> None:
    start = sequence.num_computed
    if start < sequence.chunk_end:
        end = min(start + size, sequence.chunk_end)
        # What is sampled follows the last token there is.
        is_last, is_scored = end == sequence.num_tokens, sequence.wants_scores
        chunks.append(PrefillChunk(sequence, start, end, is_last, is_scored=is_scored))
    else:
        fed = sequence.tokens(start + 1, start + size)
        rows.append(Verification(sequence, start, tuple(fed), num_logits=0))


def slot_of(sequence: Sequence) -> int:
    """Where a running sequence is. Raises RuntimeError for one that has no place."""
    if sequence.slot is None:
        raise RuntimeError(f"{sequence.request_id} runs without a place")
    return sequence.slot
