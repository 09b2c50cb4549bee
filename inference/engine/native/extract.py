"""Takes a transformers model of the llama family apart into what the kernels compute with.

Tensors and numbers come from the model's own modules, not from a reading of its config, and the
result is compared with the model itself before it serves anyone (`preparation.py`). What the kernels do
not compute is refused with its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from inference.engine.native.library import ACTIVATIONS
from inference.engine.native.shape import NativeShape
from inference.engine.probe import ProbedLayer

FAMILIES = frozenset({
    "llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma2", "gemma3_text", "olmo2",
    "granite",
})  # fmt: skip
# Heads and widths are read in whole vectors.
_LANES = 16
_MAX_HEAD_DIM = 256


class UnsupportedModel(Exception):
    """The kernels do not compute this model. The message says what stands in the way."""


@dataclass(frozen=True, slots=True)
class LinearParts:
    """Matrices [out, in] that become one linear layer, one below the other."""

    name: str
    weights: tuple[torch.Tensor, ...]
    biases: tuple[torch.Tensor | None, ...]
    # Gate and up projections go side by side, 32 channels of each in turn.
    is_gated: bool = False


def check_family(model_type: str) -> None:
    """Raises UnsupportedModel: what can be told before minutes and memory are spent on loading."""
    if model_type not in FAMILIES:
        raise UnsupportedModel(f"the family {model_type} has no kernels")


def describe(model: Any, layers: Sequence[ProbedLayer], max_model_len: int) -> NativeShape:
    """The numbers of `model`, without its linear layers. Raises UnsupportedModel."""
    config = model.config.get_text_config()
    check_family(config.model_type)
    blocks = model.model.layers
    attention = blocks[0].self_attn
    head_dim = int(attention.head_dim)
    _check_sizes(config, blocks, layers, head_dim)
    wide = _is_wide_norm(attention, head_dim)
    names = [_rope_name(model, block, config, i) for i, block in enumerate(blocks)]
    return NativeShape(
        num_layers=len(blocks),
        hidden=config.hidden_size,
        intermediate=config.intermediate_size,
        vocab=config.vocab_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=head_dim,
        rotary_dim=2 * max((len(t) for _, t in rope_tensors(model)), default=head_dim // 2),
        activation=_activation(config),
        epsilon=float(config.rms_norm_eps),
        query_scale=float(attention.scaling),
        max_model_len=max_model_len,
        windows=tuple(
            layer.window if layer.window and layer.window < max_model_len else 0 for layer in layers
        ),
        ropes=tuple(names),
        rope_factors={name: _rope_factor(model, name) for name in sorted(set(names) - {""})},
        wide_qk_norm=wide,
        softcap=float(getattr(config, "attn_logit_softcapping", None) or 0.0),
        logit_softcap=float(getattr(config, "final_logit_softcapping", None) or 0.0),
        embedding_factor=_embedding_factor(model, config),
        residual_factor=float(getattr(config, "residual_multiplier", 1.0)),
        logit_factor=1.0 / float(getattr(config, "logits_scaling", 1.0)),
    )


def linear_layers(model: Any) -> Iterator[LinearParts]:
    """Every linear layer by the name that the packed file gives it, the head last."""
    for index, block in enumerate(model.model.layers):
        attention, mlp = block.self_attn, block.mlp
        if hasattr(attention, "qkv_proj"):
            yield _parts(f"{index}.qkv", attention.qkv_proj)
        else:
            yield _parts(f"{index}.qkv", attention.q_proj, attention.k_proj, attention.v_proj)
        yield _parts(f"{index}.output", attention.o_proj)
        yield _gated(f"{index}.gate_up", mlp)
        yield _parts(f"{index}.down", mlp.down_proj)
    yield _parts("head", model.get_output_embeddings())


def plain_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Norms and frequencies as float32; last the embeddings, in the smallest type that holds them."""
    for index, block in enumerate(model.model.layers):
        norms = _norms(block)
        for role, module in norms.items():
            yield f"{index}.{role}", _norm_weight(module)
    yield "final_norm", _norm_weight(model.model.norm)
    for name, frequencies in rope_tensors(model):
        yield f"inv_freq.{name}", frequencies.float()
    yield "embeddings", _compact(model.get_input_embeddings().weight.detach())


def rope_tensors(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The inverse frequencies [rotary dim / 2] by name: "default", or the type of layer."""
    rotary = model.model.rotary_emb
    for name, tensor in rotary.named_buffers():
        if name == "inv_freq":
            yield "default", tensor
        elif name.endswith("_inv_freq") and "original" not in name:
            yield name.removesuffix("_inv_freq"), tensor


def _check_sizes(config: Any, blocks: Any, layers: Sequence[ProbedLayer], head_dim: int) -> None:
    if head_dim % _LANES or head_dim > _MAX_HEAD_DIM:
        raise UnsupportedModel(f"heads of {head_dim} numbers: not whole vectors of {_LANES}")
    if config.hidden_size % _LANES:
        raise UnsupportedModel(f"{config.hidden_size} channels: not whole vectors of {_LANES}")
    if any(getattr(block.mlp, "experts", None) is not None for block in blocks):
        raise UnsupportedModel("a mixture of experts has no kernels")
    shapes = {(s.num_kv_heads, s.key_dim, s.value_dim) for s in (layer.shape for layer in layers)}
    if shapes != {(config.num_key_value_heads, head_dim, head_dim)}:
        raise UnsupportedModel("its layers differ in their heads")


def _compact(weights: torch.Tensor) -> torch.Tensor:
    """The same numbers in half the memory, where they came from such a type."""
    for dtype in (torch.float16, torch.bfloat16):
        narrow = weights.to(dtype)
        if torch.equal(narrow.to(weights.dtype), weights):
            return narrow
    return weights


def _activation(config: Any) -> str:
    name = getattr(config, "hidden_activation", None) or config.hidden_act
    if name not in ACTIVATIONS:
        raise UnsupportedModel(f"the activation {name} has no kernel")
    return str(name)


def _norms(block: Any) -> dict[str, Any]:
    """The norms of a decoder layer by their place in the kernels' order."""
    norms: dict[str, Any] = {}
    if hasattr(block, "pre_feedforward_layernorm"):  # Gemma 2 and 3
        norms["norm_before_attention"] = block.input_layernorm
        norms["norm_after_attention"] = block.post_attention_layernorm
        norms["norm_before_mlp"] = block.pre_feedforward_layernorm
        norms["norm_after_mlp"] = block.post_feedforward_layernorm
    elif hasattr(block, "post_feedforward_layernorm"):  # OLMo 2 norms what a branch gives
        norms["norm_after_attention"] = block.post_attention_layernorm
        norms["norm_after_mlp"] = block.post_feedforward_layernorm
    else:
        norms["norm_before_attention"] = block.input_layernorm
        norms["norm_before_mlp"] = block.post_attention_layernorm
    for role, name in (("query_norm", "q_norm"), ("key_norm", "k_norm")):
        if getattr(block.self_attn, name, None) is not None:
            norms[role] = getattr(block.self_attn, name)
    return norms


def _norm_weight(module: Any) -> torch.Tensor:
    weight: torch.Tensor = module.weight.detach().float()
    # Gemma stores what a weight has beyond one.
    return weight + 1.0 if type(module).__name__.startswith("Gemma") else weight


def _is_wide_norm(attention: Any, head_dim: int) -> bool:
    norm = getattr(attention, "q_norm", None)
    if norm is None:
        return False
    return bool(norm.weight.shape[0] != head_dim)


def _rope_name(model: Any, block: Any, config: Any, index: int) -> str:
    if not getattr(block.self_attn, "use_rope", True):
        return ""
    names = {name for name, _ in rope_tensors(model)}
    if names == {"default"}:
        return "default"
    kind = str(config.layer_types[index])
    if kind not in names:
        raise UnsupportedModel(f"layers of type {kind} have no rotary frequencies")
    return kind


def _rope_factor(model: Any, name: str) -> float:
    attribute = "attention_scaling" if name == "default" else f"{name}_attention_scaling"
    return float(getattr(model.model.rotary_emb, attribute))


def _embedding_factor(model: Any, config: Any) -> float:
    if hasattr(config, "embedding_multiplier"):  # Granite
        return float(config.embedding_multiplier)
    if config.model_type.startswith("gemma"):
        # The model rounds it to the type of its weights.
        dtype = model.get_input_embeddings().weight.dtype
        return float(torch.tensor(config.hidden_size**0.5, dtype=dtype))
    return 1.0


def _parts(name: str, *modules: Any) -> LinearParts:
    for module in modules:
        if not isinstance(module, torch.nn.Linear):
            raise UnsupportedModel(f"{name} is a {type(module).__name__}, not a linear layer")
    return LinearParts(
        name,
        tuple(module.weight.detach() for module in modules),
        tuple(None if m.bias is None else m.bias.detach() for m in modules),
    )


def _gated(name: str, mlp: Any) -> LinearParts:
    if hasattr(mlp, "gate_up_proj"):
        whole = _parts(name, mlp.gate_up_proj)
        weights = whole.weights[0].chunk(2)
        bias = whole.biases[0]
        biases = (None, None) if bias is None else bias.chunk(2)
        return LinearParts(name, tuple(weights), tuple(biases), is_gated=True)
    pair = _parts(name, mlp.gate_proj, mlp.up_proj)
    return LinearParts(name, pair.weights, pair.biases, is_gated=True)
