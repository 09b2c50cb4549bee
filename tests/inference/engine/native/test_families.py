"""The kernels' logits beside transformers' own, family by family; strangers are refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.native.extract import FAMILIES, UnsupportedModel
from inference.engine.native.library import KernelLibrary
from tests.inference.engine.native.packed_models import (
    decode,
    pack_model,
    prefill,
    random_ids,
    running,
    write_lively_model,
)
from tests.inference.engine.tiny_models import FAMILIES as TINY_FAMILIES
from tests.inference.engine.tiny_models import write_model

# Longer than the windows of 24 tokens and than two blocks of the cache.
LENGTH = 150
NUM_DECODED = 20
WINDOW = 24
GRANITE: dict[str, Any] = {
    "embedding_multiplier": 3.0,
    "residual_multiplier": 0.6,
    "logits_scaling": 2.0,
    "attention_multiplier": 0.2,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
GEMMA3_ROPES = {
    "full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
}
# No size is a multiple of a panel's 64 channels or of a group's 32 inputs.
ODD_SIZES: dict[str, Any] = {
    "hidden_size": 80,
    "intermediate_size": 100,
    "vocab_size": 300,
    "num_attention_heads": 5,
    "num_key_value_heads": 1,
    "head_dim": 48,
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    **{family: (family, {}) for family in FAMILIES},
    "granite": ("granite", GRANITE),
    "llama with biases": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama of odd sizes": ("llama", ODD_SIZES),
    "llama narrower than a panel": ("llama", {"hidden_size": 48, "intermediate_size": 24}),
    "llama with the widest heads": ("llama", {"head_dim": 256}),
    "llama with GELU": ("llama", {"hidden_act": "gelu_pytorch_tanh"}),
    "llama with scaled rotation": ("llama", {"rope_scaling": LLAMA3_ROPE}),
    "qwen2 with YaRN": ("qwen2", {"rope_scaling": YARN}),
    "qwen2 with a window in some layers": (
        "qwen2",
        {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1},
    ),
    "phi3 with partial rotation": ("phi3", {"partial_rotary_factor": 0.5, "head_dim": 32}),
    "gemma2 with tight caps": (
        "gemma2",
        {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    ),
    "gemma2 with tied embeddings": ("gemma2", {"tie_word_embeddings": True}),
    "gemma3 with two rotations": ("gemma3_text", {"rope_scaling": GEMMA3_ROPES}),
}


def expected_logits(model: Any, token_ids: list[int]) -> torch.Tensor:
    """What transformers computes with its own attention [tokens, vocab]."""
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([token_ids])).logits[0]
    return logits


@pytest.mark.parametrize("case", sorted(CASES))
def test_prefilled_and_decoded_logits_are_those_of_transformers(
    case: str, library: KernelLibrary, tmp_path: Path
) -> None:
    family, changes = CASES[case]
    packed = pack_model(library, write_lively_model(tmp_path, family, **changes))
    token_ids = random_ids(LENGTH, seed=3)
    expected = expected_logits(packed.model, token_ids)
    border = LENGTH - NUM_DECODED
    with running(library, packed.artifact) as runner:
        found = torch.cat(
            [prefill(runner, token_ids[:border], 5), decode(runner, token_ids, 5, border)]
        )
    # 8-bit activations alone move the logits of weights this wild by 3 to 6 hundredths.
    difference = (found - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert difference.mean() < 0.07
    assert difference[border:].mean() < 0.08
    assert difference.max() < 0.4
    assert (found.argmax(-1) == expected.argmax(-1)).float().mean() > 0.85
    assert len(set(found.argmax(-1).tolist())) > 3, "a model that repeats one token proves nothing"


@pytest.mark.parametrize("position", [30, 63, 64, 100, 149])
def test_a_window_ends_at_the_very_token(
    position: int, library: KernelLibrary, tmp_path: Path
) -> None:
    # One layer: what is seen through it is the window and nothing more.
    path = write_model(tmp_path, "mistral", num_hidden_layers=1)
    packed = pack_model(library, path)
    token_ids = random_ids(LENGTH, seed=4)
    first_seen = position - WINDOW + 1
    with running(library, packed.artifact) as runner:
        before = prefill(runner, token_ids, 0)[position]
        token_ids[first_seen - 1] ^= 1
        assert torch.equal(prefill(runner, token_ids, 1)[position], before)
        token_ids[first_seen] ^= 1
        assert not torch.equal(prefill(runner, token_ids, 2)[position], before)


@pytest.mark.parametrize("family", sorted(set(TINY_FAMILIES) - FAMILIES))
def test_other_families_are_refused_by_name(
    family: str, library: KernelLibrary, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel, match=family):
        pack_model(library, write_model(tmp_path, family))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"head_dim": 8}, "heads of 8"),
        ({"head_dim": 512}, "heads of 512"),
        ({"hidden_size": 40}, "40 channels"),
        ({"hidden_act": "relu"}, "relu"),
    ],
)
def test_what_the_kernels_do_not_compute_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str, library: KernelLibrary, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        pack_model(library, write_model(tmp_path, "llama", **changes))
