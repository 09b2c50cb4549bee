"""The breaker with a clock of the test's own: nothing here waits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins_app.breaker import Breaker, BreakerRule, BreakerState

RULE = BreakerRule(max_consecutive=3, rate=0.5, window=10, cool_down=10.0)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(RULE, clock)


def fail(breaker: Breaker, times: int) -> bool:
    return [breaker.note_fault() for _ in range(times)][-1]


def test_it_opens_after_faults_in_a_row(breaker: Breaker) -> None:
    assert not fail(breaker, 2)
    breaker.note_success()
    assert not fail(breaker, 2)
    assert fail(breaker, 1)
    assert breaker.state is BreakerState.OPEN
    assert not breaker.may_call()


def test_it_opens_where_half_of_the_last_calls_failed(breaker: Breaker) -> None:
    for _ in range(4):
        breaker.note_success()
        assert not breaker.note_fault()
    breaker.note_success()
    assert breaker.note_fault()
    assert breaker.state is BreakerState.OPEN


def test_faults_of_long_ago_are_forgotten(breaker: Breaker) -> None:
    fail(breaker, 2)
    for _ in range(RULE.window):
        breaker.note_success()
    assert not fail(breaker, 2)


def test_after_the_cool_down_one_call_is_on_trial(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 9.9
    assert not breaker.may_call()
    clock.now = 10.0
    assert breaker.may_call()
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.may_call()


def test_a_trial_that_goes_well_closes_it(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10.0
    breaker.may_call()
    assert breaker.note_success()
    assert breaker.state is BreakerState.CLOSED
    assert not fail(breaker, 2)  # what was before does not count any more


def test_a_trial_that_fails_opens_it_anew(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now = 10.0
    breaker.may_call()
    assert breaker.note_fault()
    assert not breaker.may_call()
    clock.now = 20.0
    assert breaker.may_call()


def test_a_trial_that_never_comes_back_is_followed_by_another(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, 3)
    clock.now = 10.0
    assert breaker.may_call()
    clock.now = 20.0
    assert breaker.may_call()


def test_a_late_success_does_not_close_it(breaker: Breaker) -> None:
    fail(breaker, 3)
    assert not breaker.note_success()
    assert breaker.state is BreakerState.OPEN


@given(st.lists(st.tuples(st.sampled_from(["call", "good", "bad"]), st.floats(0, 30)), max_size=60))
def test_it_never_stays_shut_for_longer_than_its_cool_down(
    steps: list[tuple[str, float]],
) -> None:
    clock = Clock()
    breaker = Breaker(RULE, clock)
    for step, passes in steps:
        clock.now += passes
        if step == "call":
            breaker.may_call()
        elif step == "good":
            breaker.note_success()
        else:
            breaker.note_fault()
    clock.now += RULE.cool_down
    assert breaker.may_call()
