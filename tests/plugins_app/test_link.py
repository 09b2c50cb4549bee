from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from plugins_app.base import Context, Hook, PluginRefusal, PromptContext
from plugins_app.breaker import Breaker, BreakerRule, BreakerState
from plugins_app.link import Link
from plugins_app.runners.base import FaultKind, PluginFaultError, Runner, RunnerReport, RunnerState
from plugins_app.spec import PluginSpec, Tier

SPEC = PluginSpec("slug", "1.0.0", Tier.USER, Path("x.py"), "", (Hook.PROMPT,))
PROMPT = PromptContext(request_id="r", model="m", text="hello", messages=None)


class Scripted(Runner):
    """Does what the text of its context says."""

    num_calls = 0

    def start(self) -> None:
        pass

    def call(self, hook: Hook, context: Context) -> Context:
        self.num_calls += 1
        assert isinstance(context, PromptContext)
        if context.text == "refuse":
            raise PluginRefusal("no")
        if context.text == "fail":
            raise PluginFaultError(FaultKind.RAISED, "oh")
        return replace(context, text="done")

    def close(self, timeout: float = 2.0) -> None:
        pass

    def report(self) -> RunnerReport:
        return RunnerReport(RunnerState.READY)


class Notes:
    def __init__(self) -> None:
        self.outcomes: list[str] = []
        self.faults: list[FaultKind] = []
        self.breakers: list[bool] = []

    def record(self, slug: str, hook: Hook, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)

    def fault(self, slug: str, hook: Hook, error: PluginFaultError) -> None:
        self.faults.append(error.kind)

    def breaker(self, slug: str, *, is_open: bool) -> None:
        self.breakers.append(is_open)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def link(notes: Notes, clock: Clock) -> Link:
    return Link(SPEC, Scripted(SPEC), Breaker(BreakerRule(max_consecutive=2), clock), notes)


def call(link: Link, text: str) -> str | None:
    return link.call(Hook.PROMPT, replace(PROMPT, text=text)).text


def test_an_answer_is_handed_on_and_recorded(link: Link, notes: Notes) -> None:
    assert call(link, "hello") == "done"
    assert notes.outcomes == ["ok"]


def test_a_refusal_is_no_fault(link: Link, notes: Notes) -> None:
    for _ in range(10):
        with pytest.raises(PluginRefusal):
            call(link, "refuse")
    assert set(notes.outcomes) == {"refused"}
    assert (notes.faults, link.breaker.state) == ([], BreakerState.CLOSED)


def test_one_that_fails_is_left_alone_and_tried_again(
    link: Link, notes: Notes, clock: Clock
) -> None:
    for _ in range(2):
        with pytest.raises(PluginFaultError, match="oh"):
            call(link, "fail")
    with pytest.raises(PluginFaultError) as caught:
        call(link, "hello")
    assert caught.value.kind is FaultKind.UNAVAILABLE
    assert isinstance(link.runner, Scripted)
    assert link.runner.num_calls == 2
    clock.now = 60.0
    assert call(link, "hello") == "done"
    assert notes.outcomes == ["raised", "raised", "skipped", "ok"]
    assert notes.faults == [FaultKind.RAISED, FaultKind.RAISED]
    assert notes.breakers == [True, False]
