"""Optimization levels 1 and 2: fused projections, a narrower cache, 8-bit products."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.levels import cache_dtype, fuse_projections, quantize
from tests.inference.engine.harness import running_engine
from tests.inference.engine.native.packed_models import random_ids, write_lively_model
from tests.inference.engine.quality.models import load

LENGTH = 100
MAX_TOKENS = 40
# How many groups of projections each of the three layers has.
GROUPS = {"llama": 2, "qwen2": 2, "gemma2": 2, "smollm3": 2, "phi3": 0, "gpt2": 0}


def read_model(folder: Path, family: str) -> Any:
    write_lively_model(folder, family)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(torch.tensor([random_ids(LENGTH, seed=0)])).logits[0]
    return found


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("family", sorted(GROUPS))
def test_fused_projections_compute_the_same(family: str, tmp_path: Path) -> None:
    model = read_model(tmp_path, family)
    expected = logits(model)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert fuse_projections(model) == 3 * GROUPS[family]
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)
    assert sum(parameter.numel() for parameter in model.parameters()) == num_parameters
    assert fuse_projections(model) == 0, "nothing is left to fuse"


def test_projections_of_which_one_alone_has_a_bias_are_fused_too(tmp_path: Path) -> None:
    model = read_model(tmp_path, "llama")
    for layer in model.model.layers:
        layer.self_attn.k_proj.bias = torch.nn.Parameter(torch.randn(32))
    expected = logits(model)
    fuse_projections(model)
    torch.testing.assert_close(logits(model), expected, rtol=1e-4, atol=1e-4)


def test_a_fused_model_remembers_no_input(tmp_path: Path) -> None:
    model = read_model(tmp_path, "llama")
    fuse_projections(model)
    first = logits(model)
    with torch.inference_mode():
        other = model(torch.tensor([random_ids(LENGTH, seed=1)])).logits[0]
    assert not torch.equal(other, first)
    assert torch.equal(logits(model), first)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma2"])
def test_8_bit_products_stay_close(family: str, tmp_path: Path) -> None:
    model = read_model(tmp_path, family)
    expected = logits(model)
    fuse_projections(model)
    # Four products a layer, and the head.
    assert quantize(model) == 3 * 4 + 1
    found = logits(model)
    assert relative(found, expected) < 0.05
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.9


def test_the_cache_is_narrower_from_level_1_on() -> None:
    assert cache_dtype(0, torch.float32) == torch.float32
    assert cache_dtype(1, torch.float32) == torch.bfloat16
    assert cache_dtype(2, torch.float32) == torch.bfloat16
    # What is narrow already stays as it is.
    assert cache_dtype(2, torch.float16) == torch.float16
    assert cache_dtype(0, torch.bfloat16) == torch.bfloat16


def test_the_cache_of_level_1_takes_half_the_memory(tiny_model: Path) -> None:
    sizes = []
    for level in (0, 1, 2):
        backend, _ = load(tiny_model, optimization_level=level)
        assert backend.optimization_level == level
        sizes.append(backend.get_metrics()["kv_cache_reserved_bytes"])
    assert sizes[1] == sizes[2] == sizes[0] / 2


def test_greedy_texts_of_the_levels_begin_alike(tiny_model: Path) -> None:
    prompts = [random_ids(10 + 20 * seed, seed) for seed in range(8)]
    texts = {}
    for level in (0, 1, 2):
        with running_engine(tiny_model, optimization_level=level) as engine:
            texts[level] = engine.ask_all(prompts, max_tokens=MAX_TOKENS)
            assert [engine.ask(p, max_tokens=MAX_TOKENS).text for p in prompts] == texts[level]
    # Weights this wild forgive nothing: one token that falls otherwise changes all after it. Half of
    # the texts of level 1 are alike for 20 tokens and more, those of level 2 for 2.
    assert sorted(num_common(texts[0], texts[1]))[4] >= 20
    assert sorted(num_common(texts[0], texts[2]))[4] >= 2


def num_common(ours: list[str], theirs: list[str]) -> list[int]:
    """How many characters, which are tokens, each pair of texts begins with alike."""
    return [
        sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
        for a, b in zip(ours, theirs, strict=True)
    ]
