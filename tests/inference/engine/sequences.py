"""Sequences and schedulers for tests that need no model."""

from __future__ import annotations

from typing import Any

from inference.engine.detokenizer import TextAssembler
from inference.engine.kv_cache.base import CacheAccounting
from inference.engine.kv_cache.slots import SlotPool
from inference.engine.scheduler import Propose, Scheduler
from inference.engine.sequence import Sequence, SequenceState
from inference.engine.step_plan import StepPlan
from inference.protocol import SamplingParams


def make_sequence(
    name: str,
    prompt: int | list[int],
    *,
    priority: int = 0,
    timeout: float = 60.0,
    tenant: str = "",
    **params: Any,
) -> Sequence:
    """A waiting sequence; a number stands for a prompt of that many tokens, 0, 1, 2 and so on."""
    return Sequence(
        request_id=name,
        prompt_ids=list(range(prompt)) if isinstance(prompt, int) else prompt,
        params=SamplingParams(**{"max_tokens": 8, "temperature": 0.0, **params}),
        text=TextAssembler(lambda ids: ""),
        now=100.0,
        timeout=timeout,
        priority=priority,
        tenant=tenant,
    )


def make_scheduler(
    num_slots: int = 4,
    budget: int = 256,
    max_waiting: int = 10,
    cache: CacheAccounting | None = None,
    scored_rows: int = 1024,
) -> Scheduler:
    pool = cache or SlotPool(num_slots, 1024)
    return Scheduler(pool, prefill_budget=budget, max_waiting=max_waiting, scored_rows=scored_rows)


def run(scheduler: Scheduler, propose: Propose | None = None) -> StepPlan:
    """One step in which every sampled sequence gets a token, its count of tokens so far."""
    plan = scheduler.schedule(propose)
    scheduler.advance(plan)
    for sequence in plan.sampled:
        sequence.output_ids.append(1000 + len(sequence.output_ids))
    return plan


def finish_when_done(scheduler: Scheduler) -> list[Sequence]:
    """End the sequences that have all their tokens; who they were."""
    done = [
        s
        for s in scheduler.all()
        if s.state is SequenceState.DECODING and len(s.output_ids) >= s.params.max_tokens
    ]
    for sequence in done:
        scheduler.finish(sequence)
    return done


def chunks(plan: StepPlan) -> list[tuple[str, int, int]]:
    return [(chunk.sequence.request_id, chunk.start, chunk.end) for chunk in plan.chunks]
