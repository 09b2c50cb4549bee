"""Observers learn how requests ended, after the callers, and hold nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference.models import InferenceJob
from inference.protocol import GenerationJob
from inference.worker.generation import JobRunner
from plugins_app.base import FinishedContext, Hook
from plugins_app.observers import Observers
from tests.inference.worker.conftest import wait_until
from tests.inference.worker.test_generation import run
from tests.plugins_app.links import DirectLink, Plain, Source, link
from tests.plugins_app.sample_plugins import Suffix

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]


class Notes(Plain):
    def initialize(self) -> bool:
        self.told: list[FinishedContext] = []
        return True

    def execute(self, input_data: FinishedContext) -> FinishedContext:
        self.config.get("before", lambda: None)()
        self.told.append(input_data)
        return input_data


def notes(slug: str = "notes", **fields: Any) -> DirectLink:
    return link(Notes, slug, Hook.FINISHED, **fields)


def told(observer: DirectLink, number: int = 1) -> list[FinishedContext]:
    found: list[FinishedContext] = observer.plugin.told  # type: ignore[attr-defined]
    wait_until(lambda: len(found) >= number, "the observer is told")
    return found


def finished(request_id: str = "r", model: str = "m") -> FinishedContext:
    return FinishedContext(request_id, model, "viewer", "stop", "", 1, 2, 0, None, None, 0.5)


def test_an_observer_is_told_figures_of_an_answer(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    observer = notes()
    links = [observer, link(Suffix, "more", Hook.PROMPT, suffix=" more")]
    run(make_runner(plugins=links), make_job("say one two"), redis_client)
    (context,) = told(observer)
    assert (context.request_id, context.finish_reason, context.error_code) == ("req_1", "stop", "")
    assert (context.prompt_tokens, context.completion_tokens) == (2, 3)
    assert (context.ttft, context.plugins) == (0.01, ("more",))
    assert context.queue_time is not None
    assert context.duration >= context.queue_time


def test_an_observer_is_told_of_failures(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    observer = notes()
    runner = make_runner(plugins=[observer])
    run(runner, make_job("fail"), redis_client)
    run(runner, make_job("say late", timeout=-1), redis_client)
    assert [c.error_code for c in told(observer, 2)] == ["INFERENCE_FAILED", "DEADLINE_EXCEEDED"]


def test_a_caller_is_answered_before_observers_are_told(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    go_on = threading.Event()
    observer = notes(before=go_on.wait)
    events = run(make_runner(plugins=[observer]), make_job("say one"), redis_client)
    assert events[-1].text == "one "
    assert InferenceJob.objects.get().state == "succeeded"
    assert observer.plugin.told == []  # type: ignore[attr-defined]
    go_on.set()
    told(observer)


@pytest.fixture
def observers() -> Iterator[Callable[..., Observers]]:
    made: list[Observers] = []

    def make(*links: DirectLink, room: int = 1000) -> Observers:
        made.append(Observers(Source(*links), room))
        return made[-1]

    yield make
    for item in made:
        item.close(10)


def test_what_finds_no_room_is_left_out_and_counted(
    observers: Callable[..., Observers], caplog: pytest.LogCaptureFixture
) -> None:
    go_on, has_begun = threading.Event(), threading.Event()

    def wait() -> None:
        has_begun.set()
        go_on.wait()

    observer = notes(before=wait)
    desk = observers(observer, room=2)
    desk.tell(finished("first"))
    has_begun.wait()
    for number in range(5):
        desk.tell(finished(str(number)))
    assert desk.num_dropped == 3
    assert caplog.text.count("too slow") == 1
    go_on.set()
    assert [c.request_id for c in told(observer, 3)] == ["first", "0", "1"]


def test_an_observer_that_fails_costs_the_others_nothing(
    observers: Callable[..., Observers],
) -> None:
    def fail() -> None:
        raise ValueError("oh")

    good = notes("good", order=2)
    desk = observers(notes("bad", order=1, before=fail), good)
    desk.tell(finished("a"))
    desk.tell(finished("b"))
    assert [c.request_id for c in told(good, 2)] == ["a", "b"]


def test_an_observer_hears_of_its_models_only(observers: Callable[..., Observers]) -> None:
    observer = notes(models=("mine",))
    desk = observers(observer)
    for model in ("mine", "other", "mine"):
        desk.tell(finished(model=model))
    desk.close(10)
    assert [c.model for c in told(observer, 2)] == ["mine", "mine"]


def test_without_an_end_to_tell_there_is_no_thread(observers: Callable[..., Observers]) -> None:
    before = threading.active_count()
    observers(notes()).close(1)
    assert threading.active_count() == before
