"""A request that fails says what was computed for it, so that it can be billed."""

from __future__ import annotations

from pathlib import Path

from inference.protocol import Delta, Failed, Usage
from tests.inference.engine.harness import Harness, running_engine

PROMPT = [1, 2, 3, 4, 5]


def failed(engine: Harness, request_id: str) -> Failed:
    outcome = engine.outcome(request_id)
    assert isinstance(outcome, Failed)
    return outcome


def test_a_request_cancelled_in_decode_counts_prompt_and_tokens(engine: Harness) -> None:
    request_id = engine.send(PROMPT, max_tokens=500)
    for _ in range(10):
        seen = engine.wait_for(request_id, Delta)
    engine.engine.cancel(request_id)
    usage = failed(engine, request_id).usage
    assert usage.prompt_tokens == len(PROMPT)
    assert seen.num_tokens <= usage.completion_tokens <= 500


def test_a_request_that_never_began_counts_nothing(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=1) as engine:
        first = engine.send(PROMPT, max_tokens=500)
        engine.wait_for(first, Delta)
        second = engine.send(PROMPT, max_tokens=10)
        engine.engine.cancel(second)
        assert failed(engine, second).usage == Usage()
        engine.engine.cancel(first)


def test_several_answers_count_the_prompt_once(tiny_model: Path) -> None:
    with running_engine(tiny_model, num_slots=2) as engine:
        request_id = engine.send(PROMPT, n=4, max_tokens=200)
        seen: dict[int, int] = {}
        while len(seen) < 2:
            delta = engine.wait_for(request_id, Delta)
            seen[delta.index] = delta.num_tokens
        engine.engine.cancel(request_id)
        usage = failed(engine, request_id).usage
    assert usage.prompt_tokens == len(PROMPT)
    assert usage.completion_tokens >= sum(seen.values())
