"""Makes what the fast path needs: kernels, packed weights, and proof that they are good enough.

Packing works on the model as transformers loaded it, which is at hand then as the reference: the
model's own float32 answers over the fixed text are measured first, the kernels' afterwards, and the
comparison is stored with the packed weights. Runs in a process of its own
(`python -m inference.engine.native`), so that a model can be served meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from inference.engine.backends.base import ServedModel
from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from inference.engine.native.artifact import (
    Artifact,
    Qualification,
    artifact_file,
    stale_drafts,
    write_artifact,
)
from inference.engine.native.compiler import build_library, open_library
from inference.engine.native.extract import (
    check_family,
    describe,
    linear_layers,
    plain_tensors,
)
from inference.engine.native.library import KernelLibrary
from inference.engine.native.packing import pack_linear
from inference.engine.native.shape import NativeShape
from inference.engine.native.store import FastPath
from inference.engine.quality.comparison import QualityResult, compare
from inference.engine.quality.measurement import measure
from inference.engine.quality.windows import WINDOW_LENGTH, text_windows
from inference.model_files import ModelFiles

logger = logging.getLogger(__name__)
Progress = Callable[[str, float], None]

# The whole text where that takes about a minute, else a part of it.
_PARAMETERS_FOR_WHOLE_TEXT = 2_000_000_000
_TOKENS_OF_LARGE_MODELS = 2_048
# Windows that are measured side by side, each with a slot of its own.
_NUM_SLOTS = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was made, or found as it should be."""

    file: Path
    qualification: Qualification


def prepare(files: ModelFiles, cache_dir: Path, num_threads: int, progress: Progress) -> Prepared:
    """Build, pack, measure and store. Raises LoadError, KernelError, UnsupportedModel, OSError."""
    check_family(files.model_type)
    progress("kernels", 0.0)
    library = open_library(build_library(cache_dir))
    progress("kernels", 1.0)
    length = min(WINDOW_LENGTH, files.max_model_len)
    config = EngineConfig(
        num_slots=_NUM_SLOTS,
        max_model_len=length,
        num_threads=num_threads,
        backend="cpu",
        optimization_level=0,
    )
    backend = CpuBackend()
    backend.initialize()
    reference = backend.load_model(str(files.path), config, progress)
    model = reference.loaded.model
    shape = describe(model, reference.loaded.layers, reference.loaded.max_model_len)
    windows = text_windows(
        reference.loaded.tokenizer,
        length=reference.capacity.max_model_len,
        num_tokens=_num_tokens(files),
    )
    expected = measure(
        backend, reference, windows, progress=lambda fraction: progress("reference", fraction)
    )
    shape, tensors = pack(library, model, shape, num_threads, progress)
    found = _measure_kernels(library, shape, tensors, reference, config, windows, progress)
    comparison = compare(found, expected)
    qualification = Qualification(
        comparison.perplexity_ratio, comparison.top1_agreement, comparison.num_tokens
    )
    progress("write", 0.0)
    file = artifact_file(cache_dir, files)
    file.parent.mkdir(parents=True, exist_ok=True)
    for draft in stale_drafts(file.parent):
        draft.unlink(missing_ok=True)
    write_artifact(file, shape, tensors, qualification)
    progress("write", 1.0)
    return Prepared(file, qualification)


def pack(
    library: KernelLibrary, model: Any, shape: NativeShape, num_threads: int, progress: Progress
) -> tuple[NativeShape, dict[str, torch.Tensor]]:
    """The packed form of `model`; the shape then names its linear layers."""
    tensors: dict[str, torch.Tensor] = {}
    linears: dict[str, tuple[int, int, int, int, float]] = {}
    count = 4 * shape.num_layers + 1
    for index, parts in enumerate(linear_layers(model)):
        progress("pack", index / count)
        packed = pack_linear(library, parts, num_threads)
        linears[parts.name] = packed.description
        tensors[parts.name] = packed.data
        if packed.bias is not None:
            tensors[f"{parts.name}.bias"] = packed.bias
    tensors |= dict(plain_tensors(model))
    progress("pack", 1.0)
    return replace(shape, linears=linears), tensors


def _measure_kernels(
    library: KernelLibrary,
    shape: NativeShape,
    tensors: dict[str, torch.Tensor],
    reference: ServedModel,
    config: EngineConfig,
    windows: list[list[int]],
    progress: Progress,
) -> QualityResult:
    backend = CpuBackend()
    fast = FastPath(library, Artifact(shape, None, tensors))
    served = backend.serve_native(fast, reference.loaded.files, config)
    try:
        return measure(
            backend, served, windows, progress=lambda fraction: progress("quality", fraction)
        )
    finally:
        backend.close()


def _num_tokens(files: ModelFiles) -> int | None:
    return None if files.num_parameters <= _PARAMETERS_FOR_WHOLE_TEXT else _TOKENS_OF_LARGE_MODELS
