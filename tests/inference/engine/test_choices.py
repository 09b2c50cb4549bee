"""Several answers to one prompt: seeds of their own, one terminal event, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from inference.protocol import (
    Delta,
    Failed,
    Finished,
    FinishReason,
    Prompt,
    SamplingParams,
    Started,
    Submit,
)
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine

SHORT = [1, 2, 3, 4, 5]
LONG = [(index * 7) % 256 for index in range(200)]  # several blocks of the cache


def ask_all(engine: Harness, prompt: list[int], n: int, **params: object) -> tuple[Finished, int]:
    """The terminal event, after which nothing comes, and how often the start was announced."""
    request_id = engine.send(prompt, n=n, **params)
    texts = [""] * n
    num_started = 0
    while True:
        event = engine.next_event(request_id)
        if isinstance(event, Delta):
            texts[event.index] += event.text
        elif isinstance(event, Started):
            num_started += 1
        else:
            assert isinstance(event, Finished), event
            break
    assert [choice.text for choice in event.choices] == texts
    assert event.text == texts[0]
    engine.ask(SHORT, max_tokens=1)
    assert engine.num_left(request_id) == 0
    return event, num_started


@pytest.mark.parametrize("prompt", [SHORT, LONG])
def test_each_answer_is_that_of_its_own_seed(engine: Harness, prompt: list[int]) -> None:
    params = {"temperature": 1.0, "max_tokens": 12}
    finished, num_started = ask_all(engine, prompt, 4, seed=7, **params)
    alone = [engine.ask(prompt, seed=7 + index, **params).text for index in range(4)]
    assert [choice.text for choice in finished.choices] == alone
    assert [choice.index for choice in finished.choices] == [0, 1, 2, 3]
    assert num_started == 1


def test_answers_without_a_seed_differ(engine: Harness) -> None:
    finished, _ = ask_all(engine, SHORT, 4, temperature=1.5, max_tokens=20)
    assert len({choice.text for choice in finished.choices}) == 4


def test_the_prompt_is_counted_once_and_the_tokens_of_all(engine: Harness) -> None:
    finished, _ = ask_all(engine, LONG, 3, max_tokens=9, logprobs=1)
    assert (finished.usage.prompt_tokens, finished.usage.completion_tokens) == (200, 27)
    for choice in finished.choices:
        assert choice.finish_reason is FinishReason.LENGTH
        assert choice.logprobs is not None
        assert len(choice.logprobs) == 9


def test_later_answers_find_the_prompt_in_the_cache(engine: Harness) -> None:
    ask_all(engine, LONG, 4, max_tokens=4)
    assert engine.engine.stats().cache_hits_total == 3


def test_one_answer_has_no_choices(engine: Harness) -> None:
    assert engine.ask(SHORT, max_tokens=3).choices == ()


@pytest.mark.parametrize("prompt", [SHORT, LONG])
def test_a_cancel_ends_all_answers_with_one_event(tiny_model: Path, prompt: list[int]) -> None:
    with running_engine(tiny_model, num_slots=2) as engine:
        request_id = engine.send(prompt, n=5, max_tokens=250)
        engine.wait_for(request_id, Delta)
        engine.engine.cancel(request_id)
        outcome = engine.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CANCELLED
        engine.ask(SHORT, max_tokens=1)
        assert engine.num_left(request_id) == 0
        assert engine.engine.stats().num_running == 0
        assert engine.engine.stats().num_waiting == 0


def test_a_cancel_before_the_others_follow_ends_the_request(engine: Harness) -> None:
    request_id = engine.send(LONG, n=3, max_tokens=200)
    engine.engine.cancel(request_id)
    assert isinstance(engine.outcome(request_id), Failed)
    engine.ask(SHORT, max_tokens=1)
    assert engine.num_left(request_id) == 0


def test_an_answer_that_finds_no_room_in_the_queue_fails_the_request(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=1, max_waiting=1) as engine:
        request_id = engine.send(SHORT, n=6, max_tokens=30)
        outcome = engine.outcome(request_id)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.QUEUE_FULL
        engine.ask(SHORT, max_tokens=1)
        assert engine.num_left(request_id) == 0


def test_an_id_in_use_is_not_started_twice(engine: Harness) -> None:
    request_id = engine.send(LONG, n=2, max_tokens=40)
    params = SamplingParams(n=2, max_tokens=40, ignore_eos=True)
    engine.engine.submit(Submit(request_id, Prompt(token_ids=tuple(SHORT)), params, 60.0))
    assert engine.finish(request_id).usage.prompt_tokens == len(LONG)
    engine.ask(SHORT, max_tokens=1)
    assert engine.num_left(request_id) == 0
