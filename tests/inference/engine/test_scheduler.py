"""What a step computes, without a device: order, budget, tiles, slots."""

from __future__ import annotations

import pytest

from inference.engine.errors import RequestError
from inference.engine.sequence import ALLOWED_TRANSITIONS, SequenceState
from inference.engine.step_plan import StepPlan
from inference.engine.tiling import TILE
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.sequences import chunks, make_scheduler, make_sequence, run


def test_an_empty_scheduler_has_no_work() -> None:
    scheduler = make_scheduler()
    assert not scheduler.has_work
    assert scheduler.schedule() == StepPlan()


def test_a_prompt_is_computed_then_decoded() -> None:
    scheduler = make_scheduler()
    sequence = make_sequence("a", 10)
    scheduler.add(sequence)
    first = run(scheduler)
    assert chunks(first) == [("a", 0, 10)]
    assert first.started == first.sampled == (sequence,)
    second = run(scheduler)
    assert (second.decodes, second.chunks) == ((sequence,), ())
    assert sequence.num_computed == 11


def test_a_long_prompt_is_cut_at_tiles_and_only_its_last_chunk_is_sampled() -> None:
    scheduler = make_scheduler(budget=200)
    scheduler.add(make_sequence("a", 450))
    plans = [run(scheduler) for _ in range(3)]
    assert [chunks(plan) for plan in plans] == [
        [("a", 0, 192)],
        [("a", 192, 384)],
        [("a", 384, 450)],
    ]
    assert [len(plan.sampled) for plan in plans] == [0, 0, 1]


def test_several_prompts_share_a_step() -> None:
    scheduler = make_scheduler(budget=128)
    for name, length in (("a", 30), ("b", 40), ("c", 300)):
        scheduler.add(make_sequence(name, length))
    # 58 tokens are left for c, less than a tile.
    assert chunks(run(scheduler)) == [("a", 0, 30), ("b", 0, 40)]
    assert chunks(run(scheduler)) == [("c", 0, 64)]


def test_decodes_use_up_the_budget_but_a_prompt_always_gets_a_tile() -> None:
    scheduler = make_scheduler(num_slots=100, budget=64)
    for index in range(40):
        scheduler.add(make_sequence(f"d{index}", 1))
    run(scheduler)
    scheduler.add(make_sequence("long", 300))
    plan = run(scheduler)
    assert len(plan.decodes) == 40
    assert chunks(plan) == [("long", 0, TILE)]


def test_priority_goes_before_arrival() -> None:
    scheduler = make_scheduler(num_slots=1)
    for name, priority in (("low", 0), ("high", 5), ("later", 5)):
        scheduler.add(make_sequence(name, 5, priority=priority))
    order = []
    for _ in range(3):
        plan = run(scheduler)
        order.append(plan.started[0].request_id)
        scheduler.finish(plan.started[0])
    assert order == ["high", "later", "low"]


def test_decodes_are_in_the_order_of_their_slots() -> None:
    scheduler = make_scheduler()
    sequences = [make_sequence(name, 5) for name in "abc"]
    for sequence in sequences:
        scheduler.add(sequence)
    run(scheduler)
    scheduler.finish(sequences[0])
    newcomer = make_sequence("d", 5)
    scheduler.add(newcomer)
    run(scheduler)
    assert newcomer.slot == 0
    assert [s.request_id for s in run(scheduler).decodes] == ["d", "b", "c"]


def test_the_queue_is_bounded_beyond_the_free_slots() -> None:
    scheduler = make_scheduler(num_slots=2, max_waiting=1)
    for name in "abc":
        scheduler.add(make_sequence(name, 5))
    with pytest.raises(RequestError) as refusal:
        scheduler.add(make_sequence("d", 5))
    assert refusal.value.code is ErrorCode.QUEUE_FULL
    run(scheduler)
    with pytest.raises(RequestError):
        scheduler.add(make_sequence("d", 5))
        scheduler.add(make_sequence("e", 5))


def test_an_id_in_use_is_refused() -> None:
    scheduler = make_scheduler()
    scheduler.add(make_sequence("a", 5))
    with pytest.raises(RequestError, match="in use"):
        scheduler.add(make_sequence("a", 5))


def test_what_ends_while_waiting_is_never_started() -> None:
    scheduler = make_scheduler(num_slots=1)
    first, second, third = (make_sequence(name, 5) for name in "abc")
    for sequence in (first, second, third):
        scheduler.add(sequence)
    run(scheduler)
    scheduler.finish(second)
    scheduler.finish(first)
    assert run(scheduler).started == (third,)
    assert (scheduler.num_running, scheduler.num_waiting) == (1, 0)


def test_expired_sequences_are_found_in_every_state() -> None:
    scheduler = make_scheduler(num_slots=1)
    sequences = [make_sequence("a", 5, timeout=1.0), make_sequence("b", 5, timeout=2.0)]
    for sequence in sequences:
        scheduler.add(sequence)
    run(scheduler)
    assert scheduler.expired(100.5) == []
    assert scheduler.expired(101.0) == sequences[:1]
    assert scheduler.expired(102.0) == sequences


@pytest.mark.parametrize("state", SequenceState)
def test_a_sequence_only_moves_as_the_table_allows(state: SequenceState) -> None:
    for target in SequenceState:
        sequence = make_sequence("a", 5)
        sequence.state = state
        if target in ALLOWED_TRANSITIONS[state]:
            sequence.move_to(target)
            assert sequence.state is target
        else:
            with pytest.raises(RuntimeError, match="cannot become"):
                sequence.move_to(target)


def test_tokens_span_prompt_and_output() -> None:
    sequence = make_sequence("a", 3)
    sequence.output_ids = [10, 11]
    assert [sequence.tokens(a, b) for a, b in ((0, 2), (2, 4), (3, 5))] == [
        [0, 1],
        [2, 10],
        [10, 11],
    ]
