"""Models of a few thousand weights with random values, and two tokenizers, made on the spot.

`characters` gives every id a character of its own, so that equal texts are equal ids; `byte_level`
works like GPT-2's, so that a character may take several tokens.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM

NUM_PLAIN = 256
EOS = NUM_PLAIN
VOCAB_SIZE = 264
CONTEXT = 512
FIRST_CHARACTER = 0x4E00

_SHARED: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.15,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": None,
    "tie_word_embeddings": False,
}
_SLIDING = ["sliding_attention", "full_attention", "sliding_attention"]
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "qwen3": {},
    "gemma2": {"sliding_window": 24, "layer_types": _SLIDING, "query_pre_attn_scalar": 16},
    "gemma3_text": {"sliding_window": 24, "layer_types": _SLIDING, "query_pre_attn_scalar": 16},
    "mistral": {"sliding_window": 24},
    "gpt2": {
        "n_embd": 64,
        "n_head": 4,
        "n_layer": 3,
        "n_positions": CONTEXT,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": True,
    },
    "phi3": {"sliding_window": 24},
    "olmo2": {},
    "smollm3": {"no_rope_layer_interval": 2},
    "qwen3_moe": {
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "decoder_sparse_step": 1,
    },
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
}
# What packed rows cannot serve: state outside attention, sinks, biases by distance.
SERIAL_FAMILIES: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8},
    "bloom": {"n_layer": 3, "n_head": 4},
    "gpt_oss": {
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 24,
        "layer_types": _SLIDING,
    },
    "lfm2": {"layer_types": ["conv", "full_attention", "conv"]},
    "qwen3_next": {
        "layer_types": ["linear_attention", "linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 32,
        "shared_expert_intermediate_size": 32,
    },
}


def character_tokenizer() -> Tokenizer:
    """Id n is the character U+4E00 + n; ids from EOS on are special."""
    vocab = {chr(FIRST_CHARACTER + index): index for index in range(NUM_PLAIN)}
    vocab["<end>"] = EOS
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<end>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


def byte_tokenizer() -> Tokenizer:
    """Every byte of UTF-8 is a token; ids are in the order of GPT-2's byte alphabet."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {symbol: index for index, symbol in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    return tokenizer


def write_model(
    folder: Path,
    family: str = "llama",
    *,
    tokenizer: Tokenizer | None = None,
    seed: int = 0,
    **changes: Any,
) -> Path:
    """A random model of `family` in `folder`; `changes` override its configuration."""
    settings = {**_SHARED, **{**FAMILIES, **SERIAL_FAMILIES}.get(family, {}), **changes}
    config = AutoConfig.for_model(family, **settings)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    # Random models must not end early, but the engine must know the end token.
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": EOS}))
    (tokenizer or character_tokenizer()).save(str(folder / "tokenizer.json"))
    return folder


def write_quick_model(folder: Path) -> Path:
    """A tiny model to which a line of text is one token: its quality is measured in a moment."""
    tokenizer = character_tokenizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n"), behavior="isolated")
    return write_model(folder, tokenizer=tokenizer)


def text_of(token_ids: list[int]) -> str:
    """What the character tokenizer makes of plain ids."""
    return "".join(chr(FIRST_CHARACTER + token_id) for token_id in token_ids if token_id < EOS)
