"""Streams a GGUF's weights into safetensors shards, one tensor at a time.

transformers' own loader holds the whole model several times over; here the peak is one shard and one
dequantized tensor, so that a file converts on any machine that can serve it. Names and layouts are
transformers' (5.23, pinned): its map from GGUF names, and its processor of each family, which turns
for instance llama.cpp's order of rotary rows back. Families whose processor gathers several tensors
into one (experts) take transformers' loader instead.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf as gguf_format
import numpy as np
import torch
import transformers
from safetensors.torch import save_file
from transformers import modeling_gguf_pytorch_utils as gguf_utils

_SHARD_BYTES = 1024**3
_STREAMED = (
    gguf_utils.TensorProcessor,
    gguf_utils.LlamaTensorProcessor,
    gguf_utils.Gemma2TensorProcessor,
    gguf_utils.NemotronTensorProcessor,
)


class WeightsError(Exception):
    """The file's weights are not those of its own configuration. One line with the reason."""


def is_streamable(architecture: str) -> bool:
    """Whether every tensor of this family stands for itself."""
    kind = gguf_utils.TENSOR_PROCESSORS.get(architecture, gguf_utils.TensorProcessor)
    return kind in _STREAMED


def stream_weights(
    gguf: Path, folder: Path, dtype: torch.dtype, report: Callable[[float], None]
) -> None:
    """Write the configuration and the weights of `gguf`, as `dtype`, into `folder`.

    Raises WeightsError, and what transformers raises for a family that it does not know.
    """
    config: Any = transformers.AutoConfig.from_pretrained(
        gguf.parent, gguf_file=gguf.name, trust_remote_code=False
    )
    with torch.device("meta"):
        model: Any = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype)
    shards = _Shards(folder)
    expected = {name: tensor.shape for name, tensor in model.state_dict().items()}
    for name, weights in _tensors(gguf, model, report):
        if expected.get(name) != weights.shape:
            raise WeightsError(f"{name} is {tuple(weights.shape)}, not {expected.get(name)}")
        shards.add(name, _narrow(name, weights, dtype))
    tied = {"lm_head.weight"} if config.get_text_config().tie_word_embeddings else set()
    if missing := sorted(expected.keys() - shards.names - tied):
        raise WeightsError(f"{missing[0]} is missing ({len(missing)} such tensors)")
    shards.close()
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def _tensors(
    gguf: Path, model: Any, report: Callable[[float], None]
) -> Iterator[tuple[str, torch.Tensor]]:
    """(transformers' name, float32 values) of each tensor that the model has a place for."""
    facts = gguf_utils.load_gguf_checkpoint(str(gguf), return_tensors=False)
    reader = gguf_format.GGUFReader(gguf)
    architecture = str(reader.fields["general.architecture"].contents())
    kind = gguf_utils.TENSOR_PROCESSORS.get(architecture, gguf_utils.TensorProcessor)
    processor = kind(config=facts["config"])
    names = gguf_utils.get_gguf_hf_weights_map(model, processor)
    for index, tensor in enumerate(reader.tensors):
        report(index / len(reader.tensors))
        # numpy's warnings are about values that `_narrow` refuses by name.
        with np.errstate(all="ignore"):
            values = gguf_format.quants.dequantize(tensor.data, tensor.tensor_type)
            result = processor.process(
                weights=values, name=tensor.name, tensor_key_mapping=names, parsed_parameters=facts
            )
        if result.name in names:
            # Plain float32 comes as a view of the mapped file, which torch must not write to.
            yield names[result.name], torch.from_numpy(np.require(result.weights, None, ["C", "W"]))


def _narrow(name: str, weights: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    narrowed = weights.to(dtype)
    if not bool(narrowed.isfinite().all()):
        raise WeightsError(f"{name} holds values that {dtype} cannot hold")
    return narrowed


class _Shards:
    """Collects tensors and writes a file whenever enough have come together."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, torch.Tensor] = {}
        self._open_bytes = 0
        self._files: list[tuple[Path, list[str]]] = []
        self._total_bytes = 0
        self.names: set[str] = set()

    def add(self, name: str, tensor: torch.Tensor) -> None:
        self.names.add(name)
        self._open[name] = tensor
        self._open_bytes += tensor.nbytes
        self._total_bytes += tensor.nbytes
        if self._open_bytes >= _SHARD_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and the names that loaders look for."""
        if self._open:
            self._flush()
        if len(self._files) == 1:
            self._files[0][0].rename(self._folder / "model.safetensors")
            return
        weight_map: dict[str, str] = {}
        for number, (file, names) in enumerate(self._files, 1):
            target = f"model-{number:05d}-of-{len(self._files):05d}.safetensors"
            file.rename(self._folder / target)
            weight_map |= dict.fromkeys(names, target)
        index = {"metadata": {"total_size": self._total_bytes}, "weight_map": weight_map}
        text = json.dumps(index, indent=2, sort_keys=True)
        (self._folder / "model.safetensors.index.json").write_text(text, encoding="utf-8")

    def _flush(self) -> None:
        file = self._folder / f"part-{len(self._files)}.safetensors"
        save_file(self._open, file, {"format": "pt"})
        self._files.append((file, sorted(self._open)))
        self._open, self._open_bytes = {}, 0
