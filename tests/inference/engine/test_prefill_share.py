"""How prompts share a step: nobody's giant prompt holds up a short one, and the giant goes on."""

from __future__ import annotations

from inference.engine.sequence import Sequence
from inference.engine.tiling import TILE
from tests.inference.engine.sequences import chunks, make_scheduler, make_sequence, run


def steps_until_first_token(sequence: Sequence, scheduler: object, limit: int = 200) -> int:
    for step in range(1, limit):
        run(scheduler)  # type: ignore[arg-type]
        if sequence.output_ids:
            return step
    raise AssertionError("no token")


def test_a_short_prompt_of_another_caller_gets_its_token_in_the_next_step() -> None:
    scheduler = make_scheduler(budget=256)
    scheduler.add(make_sequence("giant", 1000, tenant="alice"))
    run(scheduler)
    short = make_sequence("short", 50, tenant="bob")
    scheduler.add(short)
    plan = run(scheduler)
    assert short.output_ids
    # The giant goes on beside it with whole tiles.
    assert chunks(plan) == [("short", 0, 50), ("giant", 256, 448)]


def test_a_short_prompt_of_the_same_caller_does_too() -> None:
    scheduler = make_scheduler(budget=256)
    scheduler.add(make_sequence("giant", 1000))
    run(scheduler)
    short = make_sequence("short", 50)
    scheduler.add(short)
    assert steps_until_first_token(short, scheduler) == 1


def test_a_stream_of_short_prompts_does_not_stop_the_giant() -> None:
    scheduler = make_scheduler(num_slots=64, budget=256, max_waiting=1000)
    giant = make_sequence("giant", 640, tenant="alice")
    scheduler.add(giant)
    run(scheduler)
    for step in range(20):
        for index in range(4):
            short = make_sequence(f"s{step}.{index}", [step, index] * 32, tenant="bob")
            scheduler.add(short)
        run(scheduler)
        for sequence in scheduler.all():
            if sequence is not giant and sequence.output_ids:
                scheduler.finish(sequence)
        if giant.output_ids:
            break
    # A tile a step is kept for it: 384 tokens that were left after the first step.
    assert giant.output_ids
    assert step <= 6


def test_with_a_budget_of_one_tile_the_oldest_and_the_shortest_take_turns() -> None:
    scheduler = make_scheduler(budget=TILE)
    giant = make_sequence("giant", 640, tenant="alice")
    scheduler.add(giant)
    run(scheduler)
    scheduler.add(make_sequence("other", 128, tenant="bob"))
    names = [chunks(run(scheduler))[0][0] for _ in range(4)]
    assert sorted(names) == ["giant", "giant", "other", "other"]


def test_two_giants_of_different_callers_do_not_block_a_third_caller() -> None:
    scheduler = make_scheduler(budget=256)
    scheduler.add(make_sequence("first", 900, tenant="alice"))
    scheduler.add(make_sequence("second", 1000, tenant="carol"))
    run(scheduler)
    short = make_sequence("short", 30, tenant="bob")
    scheduler.add(short)
    assert steps_until_first_token(short, scheduler) == 1


def test_a_higher_priority_takes_the_budget_first() -> None:
    scheduler = make_scheduler(budget=128)
    scheduler.add(make_sequence("low", 500, tenant="alice"))
    run(scheduler)
    scheduler.add(make_sequence("high", 400, tenant="bob", priority=1))
    assert chunks(run(scheduler)) == [("high", 0, 128)]


def test_a_step_never_exceeds_its_budget() -> None:
    scheduler = make_scheduler(num_slots=40, budget=320, max_waiting=100)
    for index in range(40):
        scheduler.add(make_sequence(f"s{index}", 7 + 31 * index % 500, tenant=f"t{index % 5}"))
    for _ in range(60):
        plan = scheduler.schedule()
        num_rows = sum(chunk.end - chunk.start for chunk in plan.chunks) + len(plan.decodes)
        assert num_rows <= 320
        assert all(chunk.start % TILE == 0 for chunk in plan.chunks)
        scheduler.advance(plan)
        for sequence in plan.sampled:
            sequence.output_ids.append(1)
    assert all(sequence.output_ids for sequence in scheduler.all())
