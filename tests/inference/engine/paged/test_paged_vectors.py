"""Vectors and scores of prompts from pages: the rows that GPUs compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.inference.engine.harness import running_engine
from tests.inference.engine.test_embeddings import embed, ids, states_of, unit
from tests.inference.engine.test_prompt_logprobs import values_of


def test_vectors_are_transformers_own(
    tiny_model: Path, serve_from_pages: Callable[[int], None]
) -> None:
    serve_from_pages(64)
    texts = [ids(length, length) for length in (1, 70, 300)]
    with running_engine(tiny_model, prefill_budget=128) as engine:
        busy = engine.send(ids(20), max_tokens=60)
        for token_ids, vector in zip(texts, embed(engine, *texts), strict=True):
            expected = unit(states_of(tiny_model, token_ids).mean(0))
            torch.testing.assert_close(vector, expected, atol=2e-5, rtol=1e-4)
        engine.finish(busy)


def test_scores_equal_those_of_slots(
    tiny_model: Path, serve_from_pages: Callable[[int], None]
) -> None:
    with running_engine(tiny_model) as engine:
        expected = values_of(engine.ask(ids(200), max_tokens=0, prompt_logprobs=0))
    serve_from_pages(64)
    with running_engine(tiny_model, prefill_budget=64) as engine:
        busy = engine.send(ids(20), max_tokens=60)
        found = values_of(engine.ask(ids(200), max_tokens=2, prompt_logprobs=0))
        engine.finish(busy)
    assert found == pytest.approx(expected, abs=1e-4)
