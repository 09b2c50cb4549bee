"""Which tokens are told one by one, and which in pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference.protocol import GenerationJob, Prompt, SamplingParams, TokenEvent, TokenLogprob
from inference.worker import gathering
from inference.worker.gathering import INTERVAL, Gathering


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(gathering.time, "monotonic", lambda: now[0])
    return now


def gather(*, is_streamed: bool) -> Gathering:
    prompt, params = Prompt(text="x"), SamplingParams()
    job = GenerationJob("j", 1, "req_1", "m", prompt, params, 0.0, 0.0, is_streamed=is_streamed)
    return Gathering(job)


@pytest.mark.django_db
def test_a_stream_is_told_each_token_at_once(clock: list[float]) -> None:
    streamed = gather(is_streamed=True)
    tokens = [TokenEvent("a", 0), TokenEvent("b", 1)]
    assert [streamed.add(token) for token in tokens] == [[token] for token in tokens]
    assert streamed.take() == []


@pytest.mark.django_db
def test_a_stream_gathers_for_as_long_as_the_operator_says(
    clock: list[float], settings: Any
) -> None:
    settings.LLAMA = replace(settings.LLAMA, stream_interval=50)
    streamed = gather(is_streamed=True)
    assert streamed.add(TokenEvent("a", 0)) == [TokenEvent("a", 0)], "nobody waits for the first"
    assert streamed.add(TokenEvent("b", 1)) == []
    clock[0] += 0.06
    assert streamed.add(TokenEvent("c", 2)) == [TokenEvent("bc", 2)]


def test_other_answers_are_told_a_few_times_a_second(clock: list[float]) -> None:
    answer = gather(is_streamed=False)
    assert answer.add(TokenEvent("a", 0)) == [TokenEvent("a", 0)], "it has begun"
    assert answer.add(TokenEvent("b", 1)) == []
    assert answer.add(TokenEvent("c", 2)) == []
    clock[0] += INTERVAL
    assert answer.add(TokenEvent("d", 3)) == [TokenEvent("bcd", 3)]
    assert answer.add(TokenEvent("e", 4)) == [], "the interval begins anew"
    assert answer.take() == [TokenEvent("e", 4)], "nothing is lost at the end"
    assert answer.take() == []


def test_the_answers_of_one_call_gather_each_for_itself(clock: list[float]) -> None:
    answer = gather(is_streamed=False)
    logprobs = (TokenLogprob("a", -0.5),)
    answer.add(TokenEvent("first", 0, index=2))
    answer.add(TokenEvent("a", 0, logprobs))
    answer.add(TokenEvent("x", 0, index=1))
    answer.add(TokenEvent("b", 1))
    assert answer.take() == [TokenEvent("ab", 1, logprobs), TokenEvent("x", 0, index=1)]
