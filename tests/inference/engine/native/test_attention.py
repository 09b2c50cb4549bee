"""Attention in 16-bit integers where its numbers are at their largest, smallest or all alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.native.library import KernelLibrary
from tests.inference.engine.native.packed_models import (
    decode,
    pack_model,
    prefill,
    random_ids,
    running,
    write_lively_model,
)

# Three blocks of the cache, the last one not full.
LENGTH = 150
Change = Callable[[Any], None]


def silence(projection: Any, bias: float = 0.0) -> None:
    """The projection gives `bias` everywhere, whatever goes in."""
    projection.weight.zero_()
    projection.bias.fill_(bias)


def alternate(bias: torch.Tensor, size: float) -> None:
    """`size`, minus `size`, and so on."""
    bias.fill_(size)
    bias[::2] *= -1


def all_keys_zero(attention: Any) -> None:
    silence(attention.k_proj)


def equal_weights_of_equally_large_values(attention: Any) -> None:
    """Every product of a block is the largest one there is."""
    silence(attention.k_proj)
    silence(attention.v_proj)
    alternate(attention.v_proj.bias, 3.0)


def all_values_zero(attention: Any) -> None:
    silence(attention.v_proj)


def tiny_values(attention: Any) -> None:
    attention.v_proj.weight.mul_(1e-25)
    attention.v_proj.bias.mul_(1e-25)


def huge_values(attention: Any) -> None:
    attention.v_proj.weight.mul_(1e6)
    attention.o_proj.weight.mul_(1e-6)


def parallel_keys_and_queries(attention: Any) -> None:
    """Products as large as lengths allow; one key differs from the next by little."""
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight.mul_(0.05)
        projection.bias.fill_(2.0)


def one_number_outweighs_a_head(attention: Any) -> None:
    attention.k_proj.bias[::16] += 30.0


@pytest.mark.parametrize(
    "change",
    [
        all_keys_zero, equal_weights_of_equally_large_values, all_values_zero, tiny_values,
        huge_values, parallel_keys_and_queries, one_number_outweighs_a_head,
    ],
)  # fmt: skip
@pytest.mark.parametrize("head_dim", [16, 48, 256])
def test_logits_stay_those_of_transformers(
    head_dim: int, change: Change, library: KernelLibrary, tmp_path: Path
) -> None:
    path = write_lively_model(tmp_path, "llama", attention_bias=True, head_dim=head_dim)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    with torch.no_grad():
        for layer in model.model.layers:
            change(layer.self_attn)
    model.save_pretrained(path)
    model.set_attn_implementation("eager")
    token_ids = random_ids(LENGTH, seed=7)
    with torch.inference_mode():
        expected = model(input_ids=torch.tensor([token_ids])).logits[0]
    packed = pack_model(library, path)
    with running(library, packed.artifact) as runner:
        found = prefill(runner, token_ids, 0)
        assert torch.equal(decode(runner, token_ids, 0, LENGTH - 20), found[-20:])
    difference = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert difference.mean() < 0.07
    assert difference.max() < 0.4


def test_a_small_weight_beside_a_large_one_still_counts(
    library: KernelLibrary, tmp_path: Path
) -> None:
    """A first token that all look at, with a small value, as trained models have it."""
    path = write_lively_model(tmp_path, "llama", attention_bias=True, num_hidden_layers=1)
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    attention = model.model.layers[0].self_attn
    with torch.no_grad():
        # The pair of numbers that positions turn least.
        attention.q_proj.bias[7::8] = 6.0
        attention.v_proj.bias.zero_()
        # What only the first token has: its key lies along the queries, its value is near zero.
        own = model.model.embed_tokens.weight
        own[0].zero_()
        own[0, 0] = 100.0
        attention.k_proj.weight[7::8, 0] = 0.8
        attention.v_proj.weight[:, 0] = 1e-4
    model.save_pretrained(path)
    token_ids = [0, *(1 + token % 255 for token in random_ids(LENGTH, seed=2))]
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        out = model(input_ids=torch.tensor([token_ids]), output_attentions=True)
    assert out.attentions[0][0, :, 100:, 0].mean() > 0.5, "nobody looks at the first token"
    packed = pack_model(library, path)
    with running(library, packed.artifact) as runner:
        found = prefill(runner, token_ids, 0)
    difference = (found - out.logits[0]).norm(dim=-1) / out.logits[0].norm(dim=-1)
    assert difference.mean() < 0.05
