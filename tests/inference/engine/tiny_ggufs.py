"""GGUF files of a few thousand weights: random ones in any quantization, or those of a given model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Kind
from tokenizers import pre_tokenizers

Array = np.ndarray[Any, Any]

WIDTH, LAYERS, HEADS, KV_HEADS, INNER, CONTEXT = 64, 2, 4, 2, 96, 128
TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
TOKENS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "<end>"]
# Where each type of block keeps its half-precision scales, in bytes from the block's start.
_SCALES = {
    Kind.Q2_K: (80, 82), Kind.Q3_K: (108,), Kind.Q4_K: (0, 2), Kind.Q5_K: (0, 2),
    Kind.Q6_K: (208,), Kind.IQ4_NL: (0,), Kind.IQ4_XS: (0,), Kind.IQ3_S: (0,), Kind.IQ2_S: (0,),
}  # fmt: skip
RANDOM_BLOCKS = tuple(_SCALES)


def write_gguf(
    file: Path,
    *,
    architecture: str = "llama",
    kind: Kind = Kind.Q8_0,
    pre: str = "smollm",
    scale: float = 0.1,
    width: int = WIDTH,
    weights: dict[str, Array] | None = None,
    fields: dict[str, Any] | None = None,
) -> dict[str, Array]:
    """Write a model and return its tensors as float32, by their GGUF names.

    Matrices are quantized as `kind`. `weights` replace the random ones; `fields` are further numbers
    and texts of the header.
    """
    writer = gguf.GGUFWriter(file, architecture)
    _add_facts(writer, width, pre)
    for name, value in (fields or {}).items():
        add = writer.add_string if isinstance(value, str) else writer.add_uint32
        add(name, value)
    stored: dict[str, Array] = {}
    values = weights if weights is not None else random_weights(architecture, width, scale)
    for name, array in values.items():
        if array.ndim == 1:
            writer.add_tensor(name, array)
            stored[name] = array
            continue
        quantized = quantize(array, kind)
        writer.add_tensor(name, quantized, raw_dtype=kind)
        stored[name] = gguf.quants.dequantize(quantized, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return stored


def quantize(array: Array, kind: Kind) -> Array:
    """`array` in blocks; types that can only be read get random blocks with small scales."""
    if kind not in _SCALES:
        return gguf.quants.quantize(array, kind)
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    source = np.random.default_rng(array.size)
    blocks = source.integers(0, 256, (array.size // block, block_bytes), dtype=np.uint8)
    scale = np.frombuffer(np.float16(2e-3).tobytes(), np.uint8)
    for place in _SCALES[kind]:
        blocks[:, place : place + 2] = scale
    return blocks.reshape(array.shape[0], -1)


def random_weights(architecture: str, width: int, scale: float) -> dict[str, Array]:
    """Normal values of a llama or a qwen2, whose projections have biases."""
    source = np.random.default_rng(0)

    def random(*shape: int) -> Array:
        return source.normal(0, scale, shape).astype(np.float32)

    weights = {
        "token_embd.weight": random(len(TOKENS), width),
        "output_norm.weight": np.ones(width, np.float32),
    }
    inner = INNER if width == WIDTH else 2 * width
    for layer in range(LAYERS):
        for name, *shape in (
            ("attn_q", width, width),
            ("attn_k", width // 2, width),
            ("attn_v", width // 2, width),
            ("attn_output", width, width),
            ("ffn_gate", inner, width),
            ("ffn_up", inner, width),
            ("ffn_down", width, inner),
        ):
            weights[f"blk.{layer}.{name}.weight"] = random(*shape)
            if architecture == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                weights[f"blk.{layer}.{name}.bias"] = random(shape[0])
        for name in ("attn_norm", "ffn_norm"):
            weights[f"blk.{layer}.{name}.weight"] = np.ones(width, np.float32)
    return weights


def _add_facts(writer: gguf.GGUFWriter, width: int, pre: str) -> None:
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(width)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER if width == WIDTH else 2 * width)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // HEADS)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * 257 + [3])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(257)
    writer.add_chat_template(TEMPLATE)
