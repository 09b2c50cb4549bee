"""Greedy parity with transformers' generate(), family by family, from packed rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.inference.engine.harness import running_engine
from tests.inference.engine.tiny_models import EOS, FAMILIES, text_of, write_model

NUM_TOKENS = 40


def prompts() -> list[list[int]]:
    """Shorter than a tile, across its border, and longer than two (and than any window)."""
    return [
        [(seed + 7 * i * i) % 256 for i in range(n)] for seed, n in ((3, 5), (90, 70), (7, 150))
    ]


def generate(path: Path, prompt: list[int]) -> str:
    """The text of transformers' own greedy generation, the end token forbidden."""
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    output = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.int64),
        max_new_tokens=NUM_TOKENS,
        min_new_tokens=NUM_TOKENS,
        do_sample=False,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    return text_of(output[0, len(prompt) :].tolist())


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_greedy_text_equals_that_of_generate(family: str, tmp_path: Path) -> None:
    path = write_model(tmp_path, family)
    expected = [generate(path, prompt) for prompt in prompts()]
    with running_engine(path, prefill_budget=128) as engine:
        texts = engine.ask_all(prompts(), max_tokens=NUM_TOKENS, min_tokens=NUM_TOKENS)
    assert texts == expected
    assert len(set(texts[0])) > 3, "a model that repeats one token proves nothing"
