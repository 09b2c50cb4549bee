"""Duties run when they are due, the leader's in the leader alone, and none stops another."""

from __future__ import annotations

import logging
import threading
from typing import Any

import pytest

from monitoring.monitor.duties import Duty, DutyRunner, register_duty, registered_duties


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_duty_runs_at_once_and_then_at_its_distance() -> None:
    clock, runs = Clock(), []
    duty = Duty("count", lambda: runs.append(clock.now), 20, by_leader=True)
    runner = DutyRunner([duty], lambda: True, clock)
    for clock.now in (0.0, 5.0, 19.9, 20.0, 39.0, 41.0):
        runner.run_due()
    assert runs == [0.0, 20.0, 41.0]


def test_a_leaders_duty_waits_until_it_leads() -> None:
    runs: list[str] = []
    leads = False
    duties = [
        Duty("mine", lambda: runs.append("mine"), 10, by_leader=False),
        Duty("theirs", lambda: runs.append("theirs"), 10, by_leader=True),
    ]
    runner = DutyRunner(duties, lambda: leads, Clock())
    runner.run_due()
    assert runs == ["mine"]
    leads = True
    runner.run_due()
    assert runs == ["mine", "theirs"]


def test_a_duty_that_fails_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    clock, runs = Clock(), []
    is_broken = True

    def fail() -> None:
        if is_broken:
            raise RuntimeError("no room")

    duties = [
        Duty("bad", fail, 1, by_leader=False),
        Duty("good", lambda: runs.append(1), 1, by_leader=False),
    ]
    runner = DutyRunner(duties, lambda: True, clock)
    with caplog.at_level(logging.INFO):
        for clock.now in (0.0, 1.0, 2.0):
            runner.run_due()
        is_broken = False
        clock.now = 3.0
        runner.run_due()
    told = [record.getMessage() for record in caplog.records]
    assert told == ["the duty bad failed: no room", "the duty bad works again"]
    assert len(runs) == 4


def test_the_thread_runs_them_until_it_is_closed() -> None:
    ran = threading.Event()
    runner = DutyRunner([Duty("set", ran.set, 60, by_leader=False)], lambda: True)
    runner.start()
    assert ran.wait(30)
    runner.close(30)
    assert not runner._thread.is_alive()


def test_an_app_registers_its_own(monkeypatch: Any) -> None:
    from monitoring.monitor import duties

    monkeypatch.setattr(duties, "_duties", {})
    register_duty("alerts", lambda: 3, every=1)
    register_duty("alerts", lambda: 4, every=2)
    (duty,) = registered_duties()
    assert (duty.every, duty.by_leader, duty.run()) == (2, True, 4)


def test_roll_ups_and_retention_are_among_them() -> None:
    assert {"roll-ups", "retention of the history"} <= {duty.name for duty in registered_duties()}
