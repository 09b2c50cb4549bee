"""How many prompt tokens a step may hold, from what steps took."""

from __future__ import annotations

from inference.engine.step_pace import StepPace
from inference.engine.tiling import TILE
from tests.inference.engine.test_scheduler import chunks, make_scheduler, make_sequence, run


def test_the_first_step_is_a_modest_one() -> None:
    assert StepPace().most_tokens(is_shared=False) == 4 * TILE


def test_a_slow_machine_gets_short_steps_and_never_less_than_a_tile() -> None:
    pace = StepPace()
    pace.note(256, 256 * 0.002)
    assert pace.most_tokens(is_shared=True) == TILE
    assert pace.most_tokens(is_shared=False) == 4 * TILE
    pace.forget()
    pace.note(64, 60.0)
    assert pace.most_tokens(is_shared=False) == TILE


def test_a_fast_machine_is_not_held_back() -> None:
    pace = StepPace()
    pace.note(512, 512 * 1e-5)
    assert pace.most_tokens(is_shared=True) > 10_000


def test_one_slow_step_weighs_little() -> None:
    pace = StepPace()
    for _ in range(20):
        pace.note(512, 512 * 1e-4)
    before = pace.most_tokens(is_shared=True)
    pace.note(512, 512 * 1e-3)
    assert before / 4 < pace.most_tokens(is_shared=True) < before


def test_a_short_prompt_does_not_pass_for_a_slow_machine() -> None:
    pace = StepPace()
    pace.note(3, 0.004)
    assert pace.most_tokens(is_shared=True) > 1000


def test_the_scheduler_keeps_to_the_limit() -> None:
    scheduler = make_scheduler(budget=1024)
    scheduler.step_limit = lambda *, is_shared: 2 * TILE
    scheduler.add(make_sequence("a", 300))
    assert chunks(run(scheduler)) == [("a", 0, 2 * TILE)]
