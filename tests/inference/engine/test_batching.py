"""What else is in the batch changes nothing: text, seeds, cancellations, reused slots."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from inference.protocol import Delta, EngineEvent, Failed, Started
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import Harness, running_engine

MAX_TOKENS = 40


def make_prompts(count: int) -> list[list[int]]:
    source = random.Random(5)  # noqa: S311
    return [[source.randrange(256) for _ in range(source.randrange(2, 170))] for _ in range(count)]


@pytest.fixture(scope="module")
def alone(tiny_model: Path) -> list[str]:
    """The greedy texts of 32 prompts, each asked with nobody else there."""
    with running_engine(tiny_model) as engine:
        return [engine.ask(prompt, max_tokens=MAX_TOKENS).text for prompt in make_prompts(32)]


@pytest.mark.parametrize("count", [16, 32])
def test_concurrent_texts_equal_those_of_one_caller(
    count: int, engine: Harness, alone: list[str]
) -> None:
    assert engine.ask_all(make_prompts(count), max_tokens=MAX_TOKENS) == alone[:count]


def test_more_requests_than_slots_get_the_same_texts(tiny_model: Path, alone: list[str]) -> None:
    with running_engine(tiny_model, num_slots=3, prefill_budget=64) as engine:
        assert engine.ask_all(make_prompts(32), max_tokens=MAX_TOKENS) == alone


def test_requests_that_join_in_mid_run_change_nothing(engine: Harness, alone: list[str]) -> None:
    prompts = make_prompts(32)
    ids: list[str] = []

    def join(event: EngineEvent) -> None:
        # Every few tokens of the first request another one joins, from the loop's own thread.
        if isinstance(event, Delta) and event.request_id == ids[0] and event.num_tokens % 3 == 0:
            ids.append(engine.send(prompts[len(ids)], max_tokens=MAX_TOKENS))

    ids.append(engine.send(prompts[0], max_tokens=MAX_TOKENS))
    engine.on_event = join
    first = engine.finish(ids[0])
    engine.on_event = None
    assert len(ids) > 8
    assert [first.text, *(engine.finish(i).text for i in ids[1:])] == alone[: len(ids)]


def test_sampled_neighbours_leave_greedy_rows_alone(engine: Harness, alone: list[str]) -> None:
    prompts = make_prompts(16)
    greedy, sampled = [], []
    for index, prompt in enumerate(prompts):
        greedy.append(engine.send(prompt, max_tokens=MAX_TOKENS))
        sampled.append(
            engine.send(
                prompt,
                max_tokens=MAX_TOKENS,
                temperature=1.3,
                top_p=0.9,
                top_k=index,
                repetition_penalty=1.2,
                logprobs=index % 3,
            )
        )
    assert [engine.finish(request_id).text for request_id in greedy] == alone[:16]
    assert len({engine.finish(request_id).text for request_id in sampled}) == 16


SAMPLED = [
    {"temperature": 1.0},
    {"temperature": 0.8, "top_p": 0.9},
    {"temperature": 1.5, "top_k": 20, "min_p": 0.02},
    {"temperature": 1.0, "presence_penalty": 0.7, "frequency_penalty": 0.4},
]


@pytest.mark.parametrize("params", SAMPLED)
def test_a_seed_gives_the_same_text_in_any_company(
    params: dict[str, float], engine: Harness
) -> None:
    prompts = make_prompts(12)
    before = [
        engine.ask(prompt, max_tokens=MAX_TOKENS, seed=index, **params).text
        for index, prompt in enumerate(prompts)
    ]
    strangers = [engine.send(prompt, temperature=1.0, max_tokens=60) for prompt in prompts]
    ids = [
        engine.send(prompt, max_tokens=MAX_TOKENS, seed=index, **params)
        for index, prompt in enumerate(prompts)
    ]
    together = [engine.finish(request_id).text for request_id in ids]
    for stranger in strangers:
        engine.finish(stranger)
    assert together == before
    assert engine.ask(prompts[0], max_tokens=MAX_TOKENS, seed=99, **params).text != before[0]


def test_without_a_seed_texts_differ(engine: Harness) -> None:
    prompt = make_prompts(1)[0]
    texts = engine.ask_all([prompt] * 4, max_tokens=MAX_TOKENS, temperature=1.0)
    assert len(set(texts)) == 4


def test_a_chunked_prompt_gives_the_unchunked_text(tiny_model: Path) -> None:
    prompt = [(index * index) % 256 for index in range(401)]
    texts = set()
    for budget in (64, 128, 200, 512):
        with running_engine(tiny_model, prefill_budget=budget) as engine:
            texts.add(engine.ask(prompt, max_tokens=MAX_TOKENS).text)
    assert len(texts) == 1


def test_streams_go_on_while_a_long_prompt_is_computed(tiny_model: Path) -> None:
    order: list[str] = []
    with running_engine(tiny_model, prefill_budget=64) as engine:
        short = engine.send([1, 2, 3], max_tokens=200)
        engine.wait_for(short, Delta)
        engine.on_event = lambda event: order.append(f"{type(event).__name__} {event.request_id}")  # type: ignore[union-attr]
        long = engine.send(list(range(256)) + list(range(200)), max_tokens=2)
        engine.finish(long)
        engine.finish(short)
    started, first = order.index(f"Started {long}"), order.index(f"Delta {long}")
    # 456 tokens are eight tiles; a step computes one of them beside the other's next token.
    assert order[started:first].count(f"Delta {short}") >= 7


def test_a_reused_slot_knows_nothing_of_its_former_owner(tiny_model: Path) -> None:
    prompts = make_prompts(6)
    with running_engine(tiny_model, num_slots=1) as engine:
        fresh = engine.ask([9], max_tokens=MAX_TOKENS).text
        for prompt in prompts:
            engine.ask(prompt, max_tokens=300)
            assert engine.ask([9], max_tokens=MAX_TOKENS).text == fresh


def test_cancelling_neighbours_changes_nothing(engine: Harness, alone: list[str]) -> None:
    prompts = make_prompts(16)
    ids = [engine.send(prompt, max_tokens=MAX_TOKENS) for prompt in prompts]
    victims = [engine.send(prompt, max_tokens=300) for prompt in prompts[:8]]
    for victim in victims:
        engine.wait_for(victim, Started)
        engine.engine.cancel(victim)
    assert [engine.finish(request_id).text for request_id in ids] == alone[:16]
    for victim in victims:
        outcome = engine.outcome(victim)
        assert isinstance(outcome, Failed)
        assert outcome.code is ErrorCode.CANCELLED
