"""Texts at level 3: whoever else is served, however prompts are cut, guessed or remembered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.inference.engine.harness import Harness, running_engine
from tests.inference.engine.native.packed_models import random_ids

MAX_TOKENS = 40
PROMPTS = [random_ids(2 + 5 * seed, seed) for seed in range(32)]


@pytest.fixture(scope="module")
def prepared(prepared_cache: Path) -> dict[str, Any]:
    """The settings with which the tiny model is served at level 3."""
    return {"optimization_level": 3, "cache_dir": str(prepared_cache)}


@pytest.fixture
def engine(quick_model: Path, prepared: dict[str, Any]) -> Iterator[Harness]:
    with running_engine(quick_model, **prepared) as harness:
        yield harness


@pytest.fixture(scope="module")
def alone(quick_model: Path, prepared: dict[str, Any]) -> list[str]:
    """Greedy texts of one caller at a time, without guesses."""
    with running_engine(quick_model, max_drafts=0, **prepared) as engine:
        return [engine.ask(prompt, max_tokens=MAX_TOKENS).text for prompt in PROMPTS]


@pytest.mark.parametrize("count", [2, 16, 32])
def test_concurrent_texts_equal_those_of_one_caller(
    count: int, engine: Harness, alone: list[str]
) -> None:
    assert engine.ask_all(PROMPTS[:count], max_tokens=MAX_TOKENS) == alone[:count]


@pytest.mark.parametrize(
    "changes",
    [{"num_slots": 3}, {"prefill_budget": 64}, {"num_threads": 2}, {"max_drafts": 64}],
    ids=str,
)
def test_settings_change_no_text(
    changes: dict[str, int], quick_model: Path, prepared: dict[str, Any], alone: list[str]
) -> None:
    with running_engine(quick_model, **prepared, **changes) as engine:
        assert engine.ask_all(PROMPTS, max_tokens=MAX_TOKENS) == alone
        assert engine.ask(PROMPTS[-1], max_tokens=MAX_TOKENS).text == alone[-1]


def test_sampled_neighbours_leave_greedy_rows_alone(engine: Harness, alone: list[str]) -> None:
    sampled = [
        engine.send(prompt, max_tokens=MAX_TOKENS, temperature=1.2, repetition_penalty=1.1)
        for prompt in PROMPTS[:8]
    ]
    assert engine.ask_all(PROMPTS[:8], max_tokens=MAX_TOKENS) == alone[:8]
    assert len({engine.finish(request_id).text for request_id in sampled}) == 8


def test_what_is_remembered_of_a_prompt_gives_the_text_of_a_new_one(
    engine: Harness, quick_model: Path, prepared: dict[str, Any]
) -> None:
    prompt = random_ids(200, seed=50)
    first = engine.ask(prompt, max_tokens=70)
    again = engine.ask(prompt, max_tokens=70)
    assert again.usage.cached_tokens >= 128
    assert again.text == first.text
    # What was decoded is as good as what was a prompt.
    longer = prompt + [ord(character) - 0x4E00 for character in first.text] + [5]
    remembered = engine.ask(longer, max_tokens=MAX_TOKENS)
    with running_engine(quick_model, **prepared) as fresh:
        assert fresh.ask(longer, max_tokens=MAX_TOKENS).text == remembered.text


def test_a_request_sent_back_to_wait_goes_on_with_the_same_text(
    engine: Harness, alone: list[str]
) -> None:
    seen = iter(range(100_000))
    engine.on_event = lambda event: (
        engine.engine.preempt_all(lambda: None) if next(seen) % 50 == 49 else None
    )
    assert engine.ask_all(PROMPTS[:12], max_tokens=MAX_TOKENS) == alone[:12]
