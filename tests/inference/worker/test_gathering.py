"""Which tokens are told one by one, and which in pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference.protocol import GenerationJob, Prompt, SamplingParams, TokenEvent, TokenLogprob
from inference.worker import gathering
from inference.worker.gathering import MANY_STREAMS, UNREAD_INTERVAL, Gathering, interval_of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(gathering.time, "monotonic", lambda: now[0])
    return now


def test_without_an_interval_each_token_is_told_at_once(clock: list[float]) -> None:
    streamed = Gathering()
    tokens = [TokenEvent("a", 0), TokenEvent("b", 1)]
    assert [streamed.add(token, 0.0) for token in tokens] == [[token] for token in tokens]
    assert streamed.take() == []


def test_tokens_gather_for_the_interval_after_the_first(clock: list[float]) -> None:
    answer = Gathering()
    assert answer.add(TokenEvent("a", 0), 1.0) == [TokenEvent("a", 0)], "it has begun"
    assert answer.add(TokenEvent("b", 1), 1.0) == []
    assert answer.add(TokenEvent("c", 2), 1.0) == []
    clock[0] += 1.0
    assert answer.add(TokenEvent("d", 3), 1.0) == [TokenEvent("bcd", 3)]
    assert answer.add(TokenEvent("e", 4), 1.0) == [], "the interval begins anew"
    assert answer.take() == [TokenEvent("e", 4)], "nothing is lost at the end"
    assert answer.take() == []


def test_the_answers_of_one_call_gather_each_for_itself(clock: list[float]) -> None:
    answer = Gathering()
    logprobs = (TokenLogprob("a", -0.5),)
    answer.add(TokenEvent("first", 0, index=2), 1.0)
    answer.add(TokenEvent("a", 0, logprobs), 1.0)
    answer.add(TokenEvent("x", 0, index=1), 1.0)
    answer.add(TokenEvent("b", 1), 1.0)
    assert answer.take() == [TokenEvent("ab", 1, logprobs), TokenEvent("x", 0, index=1)]


def job(*, is_streamed: bool) -> GenerationJob:
    prompt, params = Prompt(text="x"), SamplingParams()
    return GenerationJob("j", 1, "req_1", "m", prompt, params, 0.0, 0.0, is_streamed=is_streamed)


@pytest.mark.django_db
def test_tokens_of_a_stream_gather_the_longer_the_more_are_open(settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, stream_interval=40)
    streamed = job(is_streamed=True)
    waits = [interval_of(streamed, number) for number in (1, MANY_STREAMS // 4, MANY_STREAMS, 500)]
    assert waits == pytest.approx([0.00125, 0.010, 0.040, 0.040])


@pytest.mark.django_db
def test_the_operator_may_have_every_token_told_at_once(settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, stream_interval=0)
    assert interval_of(job(is_streamed=True), 500) == 0


def test_what_nobody_reads_gathers_for_longer_however_few_there_are() -> None:
    assert interval_of(job(is_streamed=False), 1) == UNREAD_INTERVAL
