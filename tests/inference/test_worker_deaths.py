"""Which ends of workers are deaths."""

from __future__ import annotations

from inference.presence import WorkerReport
from inference.worker_deaths import DeathCount


def worker(instance: str) -> WorkerReport:
    return WorkerReport("w", instance, 1, "here", 0.0, 0, 8)


def test_a_new_instance_of_a_name_that_was_never_gone_is_a_death() -> None:
    count = DeathCount()
    assert count.note({"w": worker("a")}) == {"w": 0}
    assert count.note({"w": worker("b")}) == {"w": 1}
    assert count.note({"w": worker("b")}) == {"w": 1}


def test_silence_and_the_return_from_it_are_one_death() -> None:
    count = DeathCount()
    count.note({"w": worker("a")})
    assert count.note({"w": None}) == {"w": 1}
    assert count.note({"w": None}) == {"w": 1}
    assert count.note({"w": worker("b")}) == {"w": 1}
    assert count.note({"w": worker("c")}) == {"w": 2}


def test_a_worker_that_has_taken_its_leave_did_not_die() -> None:
    count = DeathCount()
    count.note({"w": worker("a")})
    assert count.note({}) == {}
    assert count.note({"w": worker("b")}) == {"w": 0}


def test_one_that_is_silent_when_it_is_first_seen_is_no_death() -> None:
    assert DeathCount().note({"w": None}) == {"w": 0}
