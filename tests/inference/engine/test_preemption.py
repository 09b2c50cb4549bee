"""Sent back to wait and computed anew: the same text, one start, no token twice."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from inference.engine.kv_cache.slots import SlotPool
from inference.engine.scheduler import Scheduler
from inference.engine.sequence import Sequence, SequenceState
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import TILE
from inference.protocol import Delta, Started
from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.sequences import (
    chunks,
    finish_when_done,
    make_scheduler,
    make_sequence,
    run,
)

PROMPTS = [[(7 * index + 13 * position) % 256 for position in range(90)] for index in range(6)]
PARAMS = [
    {"temperature": 0.0},
    {"temperature": 1.0, "seed": 5},
    {"temperature": 0.9, "seed": 6, "top_p": 0.9},
    {"temperature": 0.0, "repetition_penalty": 1.3, "frequency_penalty": 0.4},
    {"temperature": 1.0, "seed": 8, "presence_penalty": 0.6},
    {"temperature": 0.0, "logprobs": 2},
]


class GrowingPool(SlotPool):
    """Slots that share a number of tokens, as pages would, and grow a block of TILE at a time."""

    def __init__(self, num_slots: int, num_tokens: int) -> None:
        super().__init__(num_slots, 1024)
        self._left = num_tokens // TILE
        self._held = [0] * num_slots

    def allocate(self, num_tokens: int, keys=()):  # type: ignore[no-untyped-def]
        needed = -(-num_tokens // TILE)
        if needed > self._left or (place := super().allocate(num_tokens, ())) is None:
            return None
        self._left -= needed
        self._held[place.slot] = needed
        return type(place)(place.slot, needed * TILE)

    def grow(self, slot: int, num_tokens: int) -> int:
        more = -(-num_tokens // TILE) - self._held[slot]
        if more <= self._left:
            self._left -= more
            self._held[slot] += more
        return self._held[slot] * TILE

    def free(self, slot: int) -> None:
        super().free(slot)
        self._left += self._held[slot]
        self._held[slot] = 0


def replay_rows(plan: StepPlan) -> list[tuple[str, int, int]]:
    return [(row.sequence.request_id, row.start, row.end) for row in plan.verifications]


def test_a_preempted_sequence_waits_with_its_output_and_no_place() -> None:
    scheduler = make_scheduler()
    sequence = make_sequence("a", 10)
    scheduler.add(sequence)
    for _ in range(3):
        run(scheduler)
    scheduler.preempt(sequence)
    assert sequence.state is SequenceState.WAITING
    assert (sequence.slot, sequence.num_computed, len(sequence.output_ids)) == (None, 0, 3)
    assert (scheduler.num_running, scheduler.num_waiting, scheduler.num_preemptions) == (0, 1, 1)


def test_where_rows_round_like_chunks_output_is_computed_anew_as_part_of_the_prompt() -> None:
    scheduler = make_scheduler(budget=128)
    sequence = make_sequence("a", 100, max_tokens=200)
    scheduler.add(sequence)
    for _ in range(101):
        run(scheduler)
    scheduler.preempt(sequence)
    scheduler.cache.forget_all()
    plans = [run(scheduler) for _ in range(3)]
    assert [chunks(plan) for plan in plans] == [[("a", 0, 128)], [("a", 128, 201)], []]
    assert plans[0].started == ()
    assert [len(plan.sampled) for plan in plans] == [0, 1, 1]
    assert len(sequence.output_ids) == 103


def test_otherwise_it_is_decoded_anew_many_rows_at_once() -> None:
    scheduler = make_scheduler(budget=64)
    scheduler.set_rounding(rounds_alike=False)
    sequence = make_sequence("a", 50, max_tokens=200)
    scheduler.add(sequence)
    for _ in range(101):
        run(scheduler)
    scheduler.preempt(sequence)
    scheduler.cache.forget_all()
    plans = [run(scheduler) for _ in range(4)]
    assert [chunks(plan) for plan in plans] == [[("a", 0, 50)], [], [], []]
    # The last of the 101 output tokens is fed by the decode that gives the 102nd.
    assert [replay_rows(plan) for plan in plans] == [[], [("a", 50, 114)], [("a", 114, 150)], []]
    assert plans[1].verifications[0].token_ids == sequence.tokens(50, 114)
    assert [len(plan.sampled) for plan in plans] == [0, 0, 0, 1]


def test_what_its_slot_still_holds_is_not_computed_again() -> None:
    scheduler = make_scheduler(budget=512)
    scheduler.set_rounding(rounds_alike=False)
    sequence = make_sequence("a", 100, max_tokens=200)
    scheduler.add(sequence)
    for _ in range(101):
        run(scheduler)
    scheduler.preempt(sequence)
    plan = run(scheduler)
    # 200 tokens were computed: three whole blocks, the decoded one among them.
    assert (chunks(plan), replay_rows(plan)) == ([], [("a", 192, 200)])
    assert sequence.num_cached == 0


def test_a_higher_priority_takes_the_place_of_the_newest_of_the_lowest() -> None:
    scheduler = make_scheduler(num_slots=3)
    running = [make_sequence(name, 10, priority=p) for name, p in (("a", 1), ("b", 0), ("c", 0))]
    for sequence in running:
        scheduler.add(sequence)
    run(scheduler)
    high = make_sequence("high", 10, priority=2)
    scheduler.add(high)
    assert run(scheduler).started == (high,)
    assert [s.state for s in running] == [
        SequenceState.DECODING,
        SequenceState.DECODING,
        SequenceState.WAITING,
    ]


def test_an_equal_priority_waits() -> None:
    scheduler = make_scheduler(num_slots=1)
    scheduler.add(make_sequence("a", 10, priority=1))
    run(scheduler)
    scheduler.add(make_sequence("b", 10, priority=1))
    assert run(scheduler).started == ()
    assert scheduler.num_preemptions == 0


def test_where_memory_runs_out_the_newest_gives_way_and_comes_back() -> None:
    pool = GrowingPool(num_slots=4, num_tokens=4 * TILE)
    scheduler = make_scheduler(cache=pool)
    sequences = [make_sequence(str(i), 60, max_tokens=100) for i in range(3)]
    for sequence in sequences:
        scheduler.add(sequence)
    done: list[Sequence] = []
    for _ in range(600):
        run(scheduler)
        done += finish_when_done(scheduler)
        if len(done) == 3:
            break
    # In the order of arrival, each with all of its tokens, each token once.
    assert [s.request_id for s in done] == ["0", "1", "2"]
    assert all(s.output_ids == list(range(1000, 1100)) for s in done)
    assert scheduler.num_preemptions > 0
    assert sequences[0].num_preemptions == 0


def test_what_cannot_grow_even_alone_is_named() -> None:
    scheduler = make_scheduler(cache=GrowingPool(num_slots=2, num_tokens=TILE))
    sequence = make_sequence("a", 60, max_tokens=100)
    scheduler.add(sequence)
    for _ in range(5):
        assert run(scheduler).stranded == ()
    plan = scheduler.schedule()
    assert plan.stranded == (sequence,)
    assert not plan.has_work


def test_what_fits_nowhere_is_named_and_does_not_block_the_queue() -> None:
    scheduler = make_scheduler(cache=GrowingPool(num_slots=2, num_tokens=2 * TILE))
    huge, small = make_sequence("huge", 500), make_sequence("small", 5)
    scheduler.add(huge)
    scheduler.add(small)
    assert scheduler.schedule().stranded == (huge,)
    scheduler.finish(huge)
    assert run(scheduler).started == (small,)


@pytest.mark.parametrize("rounds_alike", [True, False])
def test_any_order_of_preemptions_gives_every_token_once(rounds_alike: bool) -> None:
    source = random.Random(11)  # noqa: S311
    scheduler = make_scheduler(num_slots=5, budget=128, max_waiting=1000)
    scheduler.set_rounding(rounds_alike=rounds_alike)
    done: list[Sequence] = []
    for step in range(1500):
        if step < 600 and source.random() < 0.2:
            scheduler.add(
                make_sequence(
                    str(step),
                    source.randrange(1, 300),
                    max_tokens=source.randrange(1, 90),
                    tenant=f"t{source.randrange(3)}",
                    priority=source.randrange(3),
                )
            )
        running = list(scheduler._running.values())
        if running and source.random() < 0.1:
            scheduler.preempt(source.choice(running))
        if source.random() < 0.01:
            scheduler.preempt_all()
        check_step(scheduler)
        done += finish_when_done(scheduler)
    assert not scheduler.has_work
    assert len(done) > 80
    for sequence in done:
        assert sequence.output_ids == list(range(1000, 1000 + sequence.params.max_tokens))


def check_step(scheduler: Scheduler) -> None:
    """One step; each position is computed once the ones before it are, from the right token."""
    plan = run(scheduler)
    for chunk in plan.chunks:
        assert chunk.start % TILE == 0
    for row in plan.verifications:
        assert row.token_ids == row.sequence.tokens(row.start, row.end)
    for sequence in scheduler._running.values():
        assert sequence.num_computed <= sequence.num_tokens
        assert sequence.slot is not None


@pytest.fixture(scope="module")
def undisturbed(tiny_model: Path) -> list[str]:
    with running_engine(tiny_model) as engine:
        return [ask(engine, index) for index in range(len(PROMPTS))]


def ask(engine: Harness, index: int) -> str:
    return engine.finish(send(engine, index)).text


def send(engine: Harness, index: int, priority: int = 0) -> str:
    return engine.send(PROMPTS[index], max_tokens=150, priority=priority, **PARAMS[index])


def test_texts_are_the_same_after_everyone_was_preempted_often(
    engine: Harness, undisturbed: list[str]
) -> None:
    num_events, calls = 0, []

    def disturb(event: object) -> None:
        nonlocal num_events
        num_events += isinstance(event, Delta)
        if num_events % 100 == 99:
            engine.engine.preempt_all(lambda: calls.append(1))

    engine.on_event = disturb
    ids = [send(engine, index) for index in range(len(PROMPTS))]
    finished = [engine.finish(request_id) for request_id in ids]
    engine.on_event = None
    assert [f.text for f in finished] == undisturbed
    assert [f.usage.completion_tokens for f in finished] == [150] * len(PROMPTS)
    assert len(calls) > 3
    assert engine.engine.stats().preemptions_total > len(PROMPTS)


def test_a_higher_priority_interrupts_and_the_lower_goes_on(
    tiny_model: Path, undisturbed: list[str]
) -> None:
    with running_engine(tiny_model, num_slots=1) as engine:
        events: list[str] = []
        engine.on_event = lambda event: events.append(
            f"{type(event).__name__} {getattr(event, 'request_id', '')}"
        )
        low = send(engine, 1)
        engine.wait_for(low, Delta)
        high = send(engine, 4, priority=1)
        assert engine.finish(high).text == undisturbed[4]
        assert engine.finish(low).text == undisturbed[1]
        engine.on_event = None
    assert events.count(f"{Started.__name__} {low}") == 1
    assert events.index(f"Finished {high}") < events.index(f"Finished {low}")


def test_the_change_between_two_steps_runs_on_the_loops_thread_and_may_fail(
    engine: Harness, undisturbed: list[str]
) -> None:
    threads: list[str] = []

    def change() -> None:
        threads.append(threading.current_thread().name)
        raise ValueError("the faster runner is not there after all")

    request_id = send(engine, 0)
    engine.wait_for(request_id, Delta)
    engine.engine.preempt_all(change)
    assert engine.finish(request_id).text == undisturbed[0]
    assert threads == [engine._thread.name]
