"""A Llama of any shape with random weights, made on the device: nothing is downloaded or read.

For measuring and proving a device; what it says means nothing, so it has no tokenizer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import AttentionInterface

from inference.engine.attention import ATTENTION_NAME, attend
from inference.engine.loading import LoadedModel
from inference.engine.probe import probe_layers
from inference.model_files import ModelFiles


@dataclass(frozen=True, slots=True)
class LlamaShape:
    """Sizes as in a config.json; `context` is tokens."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    is_tied: bool
    context: int = 8192


SHAPES = {
    "tiny": LlamaShape(3, 64, 96, 4, 2, 16, 264, is_tied=False, context=1024),
    "1b": LlamaShape(16, 2048, 8192, 32, 8, 64, 128_256, is_tied=True),
    "8b": LlamaShape(32, 4096, 14_336, 32, 8, 128, 128_256, is_tied=False),
}


def make_llama(
    shape: LlamaShape, device: torch.device, dtype: torch.dtype, seed: int = 0
) -> LoadedModel:
    """The model on `device`. Raises torch.OutOfMemoryError or MemoryError."""
    AttentionInterface.register(ATTENTION_NAME, attend)
    config = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        num_key_value_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        max_position_embeddings=shape.context,
        tie_word_embeddings=shape.is_tied,
        bos_token_id=None,
        eos_token_id=None,
        dtype=dtype,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        # transformers' classes are untyped here.
        model: Any = LlamaForCausalLM._from_config(
            config, dtype=dtype, attn_implementation=ATTENTION_NAME
        )
    model.eval()
    model.requires_grad_(False)
    files = _describe(shape, sum(item.numel() for item in model.parameters()), dtype)
    hook, layers = probe_layers(model, files.path, device)
    nobody = cast("Any", None)
    return LoadedModel(model, hook, layers, files, nobody, dtype, device, shape.context)


def _describe(shape: LlamaShape, num_parameters: int, dtype: torch.dtype) -> ModelFiles:
    """What the files of such a model would say."""
    return ModelFiles(
        path=Path("random-llama"),
        architecture="LlamaForCausalLM",
        model_type="llama",
        max_model_len=shape.context,
        vocab_size=shape.vocab_size,
        num_layers=shape.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        hidden_size=shape.hidden_size,
        eos_token_ids=(),
        bos_token_id=None,
        weight_bytes=num_parameters * dtype.itemsize,
        num_parameters=num_parameters,
        stored_dtype=str(dtype).removeprefix("torch."),
        sliding_window=None,
        weight_files=(),
    )


def weight_bytes(model: torch.nn.Module) -> int:
    """Bytes of weights that one step reads: all but an embedding that is only looked up in."""
    tensors = {
        tensor.data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())
    }
    embedding: Any = model.get_input_embeddings()  # type: ignore[operator]
    head: Any = model.get_output_embeddings()  # type: ignore[operator]
    if embedding.weight.data_ptr() != head.weight.data_ptr():
        tensors.pop(embedding.weight.data_ptr(), None)
    return sum(tensors.values())
