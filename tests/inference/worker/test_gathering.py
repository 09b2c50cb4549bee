"""Which tokens are told one by one, and which in pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inference.protocol import GenerationJob, Prompt, SamplingParams, TokenEvent, TokenLogprob
from inference.worker import gathering
from inference.worker.gathering import (
    MANY_STREAMS,
    UNREAD_INTERVAL,
    Gathering,
    Rounds,
    interval_of,
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(gathering.time, "monotonic", lambda: now[0])
    return now


def told(
    clock: list[float], answer: Gathering, rounds: Rounds, *, gap: float, num_tokens: int
) -> list[str]:
    """The pieces in which tokens, named a, b, c and so on, are told that come `gap` seconds apart."""
    pieces = []
    for position in range(num_tokens):
        token = TokenEvent("abcdefghijklmnop"[position], position)
        pieces += [piece.text for piece in answer.add(token, rounds, 0.060)]
        clock[0] += gap
    return pieces + [piece.text for piece in answer.take()]


def test_without_an_interval_each_token_is_told_at_once(clock: list[float]) -> None:
    streamed, rounds = Gathering(), Rounds()
    tokens = [TokenEvent("a", 0), TokenEvent("b", 1)]
    assert [streamed.add(token, rounds, 0.0) for token in tokens] == [[token] for token in tokens]
    assert streamed.take() == []


def test_the_first_token_is_told_at_once_and_nothing_is_lost_at_the_end(clock: list[float]) -> None:
    pieces = told(clock, Gathering(), Rounds(), gap=0.020, num_tokens=9)
    assert pieces == ["a", "bcd", "efg", "hi"]


@pytest.mark.parametrize(
    ("gap", "pieces"),
    [
        (0.005, ["a", "bcdefghijklm", "n"]),
        (0.028, ["a", "bc", "de", "fg", "hi", "jk", "lm", "n"]),
        (0.035, ["a", "bc", "de", "fg", "hi", "jk", "lm", "n"]),
        (0.041, list("abcdefghijklmn")),
        (0.500, list("abcdefghijklmn")),
    ],
)
def test_a_round_ends_with_the_token_nearest_to_its_interval_and_slow_ones_do_not_gather(
    clock: list[float], gap: float, pieces: list[str]
) -> None:
    assert told(clock, Gathering(), Rounds(), gap=gap, num_tokens=14) == pieces


def test_what_waits_is_told_with_the_first_token_after_a_pause(clock: list[float]) -> None:
    answer, rounds = Gathering(), Rounds()
    answer.add(TokenEvent("a", 0), rounds, 0.060)
    clock[0] += 0.020
    assert answer.add(TokenEvent("b", 1), rounds, 0.060) == []
    clock[0] += 0.300
    assert answer.add(TokenEvent("c", 2), rounds, 0.060) == [TokenEvent("bc", 2)]


def test_all_streams_are_told_in_the_same_rounds(clock: list[float]) -> None:
    early, late, rounds = Gathering(), Gathering(), Rounds()
    heard: dict[str, list[int]] = {"early": [], "late": []}
    for step in range(12):
        for name, answer in (("early", early), ("late", late)):
            # The second one begins in the middle of a round.
            if (step or name == "early") and answer.add(TokenEvent("x", step), rounds, 0.060):
                heard[name].append(step)
        clock[0] += 0.020
    assert heard == {"early": [0, 3, 6, 9], "late": [1, 3, 6, 9]}


def test_the_answers_of_one_call_gather_each_for_itself(clock: list[float]) -> None:
    answer, rounds = Gathering(), Rounds()
    logprobs = (TokenLogprob("a", -0.5),)
    answer.add(TokenEvent("first", 0, index=2), rounds, 1.0)
    answer.add(TokenEvent("a", 0, logprobs), rounds, 1.0)
    answer.add(TokenEvent("x", 0, index=1), rounds, 1.0)
    answer.add(TokenEvent("b", 1), rounds, 1.0)
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
