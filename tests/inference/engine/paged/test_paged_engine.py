"""An engine over pages says what an engine over slots says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.page_pool import PAGE
from inference.engine.paged.capacity import DeviceRoom, count_pages, plan_paged
from inference.engine.tiling import TILE
from tests.inference.engine.harness import running_engine
from tests.inference.engine.test_batching import make_prompts
from tests.inference.engine.test_families import NUM_TOKENS, generate, prompts
from tests.inference.engine.tiny_models import FAMILIES, write_model

ServeFromPages = Callable[[int], None]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_greedy_text_equals_that_of_generate(
    family: str, tmp_path: Path, serve_from_pages: ServeFromPages
) -> None:
    path = write_model(tmp_path, family)
    serve_from_pages(TILE)
    with running_engine(path, optimization_level=0, prefill_budget=128) as engine:
        texts = engine.ask_all(prompts(), max_tokens=NUM_TOKENS, min_tokens=NUM_TOKENS)
    assert texts == [generate(path, prompt) for prompt in prompts()]


@pytest.mark.parametrize("page", [TILE, PAGE])
def test_texts_equal_those_of_slots_alone_and_in_company(
    page: int, tiny_model: Path, serve_from_pages: ServeFromPages
) -> None:
    with running_engine(tiny_model, optimization_level=0) as engine:
        expected = engine.ask_all(make_prompts(16), max_tokens=40)
    serve_from_pages(page)
    with running_engine(tiny_model, optimization_level=0, prefill_budget=128) as engine:
        assert engine.ask_all(make_prompts(16), max_tokens=40) == expected
        assert [engine.ask(p, max_tokens=40).text for p in make_prompts(4)] == expected[:4]


def test_who_outgrows_the_cache_is_computed_anew_and_says_the_same(
    tiny_model: Path, serve_from_pages: ServeFromPages, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_engine(tiny_model, optimization_level=0) as engine:
        expected = engine.ask_all(make_prompts(8), max_tokens=100)
    # Eight sequences of up to 270 tokens in ten pages of 64.
    monkeypatch.setattr("inference.engine.paged.serving.count_pages", lambda *args: 10)
    serve_from_pages(TILE)
    with running_engine(tiny_model, optimization_level=0, num_slots=8) as engine:
        assert engine.ask_all(make_prompts(8), max_tokens=100) == expected
        assert engine.engine.stats().preemptions_total > 0


def test_a_chat_goes_on_where_it_ended(tiny_model: Path, serve_from_pages: ServeFromPages) -> None:
    prompt = make_prompts(1)[0] * 3
    longer = [*prompt, 1, 2, 3]
    serve_from_pages(TILE)
    with running_engine(tiny_model, optimization_level=0) as engine:
        fresh = engine.ask(longer, max_tokens=20)
    with running_engine(tiny_model, optimization_level=0) as engine:
        assert engine.ask(prompt, max_tokens=1).usage.cached_tokens == 0
        again = engine.ask(longer, max_tokens=20)
    assert again.usage.cached_tokens == len(prompt) // TILE * TILE
    assert again.text == fresh.text


def test_pages_are_as_many_as_the_fullest_device_holds() -> None:

    config = EngineConfig(num_slots=4, max_model_len=1000)
    rooms = [DeviceRoom(100_000, 1000), DeviceRoom(10_000, 1000), DeviceRoom(None, 1)]
    assert count_pages(config, 4096, rooms, PAGE) == 9
    assert count_pages(config, 4096, [DeviceRoom(None, 1)], PAGE) == 16
    assert count_pages(config, 512, [DeviceRoom(None, 1)], PAGE) == 8
    assert count_pages(config, 512, [DeviceRoom(-5, 1)], PAGE) == 0


def test_the_context_is_cut_to_the_cache_only_where_nobody_asked_for_it() -> None:

    open_length = plan_paged(EngineConfig(num_slots=8), 4096, 3, PAGE)
    assert (open_length.num_slots, open_length.max_model_len) == (3, 3 * PAGE)
    with pytest.raises(LoadError, match="room for 768 tokens, not for one sequence of 1000"):
        plan_paged(EngineConfig(max_model_len=1000), 4096, 3, PAGE)
    with pytest.raises(LoadError, match="room for 0 tokens"):
        plan_paged(EngineConfig(), 4096, 0, PAGE)
