"""Models loaded to be measured, texts that they foresee well, and models made worse on purpose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from inference.engine.backends.base import ServedModel
from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from tests.inference.engine.tiny_models import EOS


def load(path: Path, **config: Any) -> tuple[CpuBackend, ServedModel]:
    settings = {"num_slots": 4, "num_threads": 1, "backend": "cpu", **config}
    backend = CpuBackend()
    assert backend.initialize()
    return backend, backend.load_model(str(path), EngineConfig(**settings))


def read_model(path: Path) -> Any:
    """transformers' own model, the oracle."""
    return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)


def round_weights(model: Any, bits: int) -> None:
    """Round each row of every weight matrix to so many bits."""
    steps = 2 ** (bits - 1) - 1
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                scale = parameter.abs().amax(dim=1, keepdim=True) / steps
                parameter.copy_((parameter / scale).round() * scale)


def write_variant(model: Any, source: Path, folder: Path) -> Path:
    """`model` as a folder of its own, with the tokenizer of `source`."""
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_bytes((source / "tokenizer.json").read_bytes())
    return folder


def sample_windows(path: Path, lengths: list[int]) -> list[list[int]]:
    """Ids that this very model would write at temperature 1: no other foresees them as well, so that
    damage shows even in random weights.
    """
    torch.manual_seed(0)
    output = read_model(path).generate(
        torch.arange(len(lengths))[:, None],
        attention_mask=torch.ones(len(lengths), 1, dtype=torch.int64),
        min_new_tokens=max(lengths) - 1,
        max_new_tokens=max(lengths) - 1,
        do_sample=True,
        top_k=0,
        eos_token_id=EOS,
        pad_token_id=EOS,
    )
    return [row[:length] for row, length in zip(output.tolist(), lengths, strict=True)]
