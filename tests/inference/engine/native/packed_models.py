"""Tiny models packed for the kernels, and the ways in which the rows of a prompt can be computed."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from inference.engine.detokenizer import TextAssembler
from inference.engine.native.artifact import Artifact
from inference.engine.native.extract import describe
from inference.engine.native.kv_cache import NativeKVCache
from inference.engine.native.library import KernelLibrary
from inference.engine.native.preparation import pack
from inference.engine.native.runner import NativeRunner
from inference.engine.sequence import Sequence as EngineSequence
from inference.engine.step_plan import PrefillChunk, StepPlan, Verification
from inference.engine.tiling import read_length
from inference.protocol import SamplingParams
from tests.inference.engine.tiny_models import write_model

NUM_SLOTS = 48
MAX_LENGTH = 256


@dataclass(frozen=True)
class PackedModel:
    """A model as transformers has it and as the kernels have it."""

    model: Any
    artifact: Artifact


def pack_model(library: KernelLibrary, path: Path) -> PackedModel:
    """Load the model in `path` as it is, and pack it. Raises UnsupportedModel."""
    backend = CpuBackend()
    assert backend.initialize()
    config = EngineConfig(num_slots=1, num_threads=1, backend="cpu", optimization_level=0)
    loaded = backend.load_model(str(path), config).loaded
    shape = describe(loaded.model, loaded.layers, loaded.max_model_len)
    shape, tensors = pack(library, loaded.model, shape, 1, lambda stage, fraction: None)
    return PackedModel(loaded.model, Artifact(shape, None, tensors))


@contextmanager
def running(
    library: KernelLibrary, artifact: Artifact, num_threads: int = 1
) -> Iterator[NativeRunner]:
    """A runner with an empty cache."""
    cache = NativeKVCache(artifact.shape, num_slots=NUM_SLOTS, slot_len=read_length(MAX_LENGTH))
    runner = NativeRunner(library, artifact, cache, num_threads)
    try:
        yield runner
    finally:
        runner.close()


def random_ids(length: int, seed: int) -> list[int]:
    source = random.Random(seed)  # noqa: S311
    return [source.randrange(256) for _ in range(length)]


def make_sequence(
    token_ids: Sequence[int], slot: int, *, num_prompt: int | None = None, num_computed: int = 0
) -> EngineSequence:
    """A sequence in its slot, whose first `num_prompt` tokens (None: all) are its prompt."""
    border = len(token_ids) if num_prompt is None else num_prompt
    sequence = EngineSequence(
        request_id=f"slot-{slot}",
        prompt_ids=list(token_ids[:border]),
        params=SamplingParams(max_tokens=1),
        text=TextAssembler(lambda ids: ""),
        now=0.0,
        timeout=0.0,
    )
    sequence.output_ids = list(token_ids[border:])
    sequence.slot, sequence.num_computed = slot, num_computed
    return sequence


def chunk(sequence: EngineSequence, start: int, end: int) -> PrefillChunk:
    """Rows of a prompt, with the logits of all of them."""
    is_last = end == sequence.num_tokens
    return PrefillChunk(sequence, start, end, is_last, num_logits=end - start)


def prefill(
    runner: NativeRunner, token_ids: Sequence[int], slot: int, cuts: Sequence[int] = ()
) -> torch.Tensor:
    """The logits of every row [tokens, vocab], computed in chunks that end at `cuts`."""
    sequence = make_sequence(token_ids, slot)
    borders = [0, *cuts, len(token_ids)]
    rows = [
        runner.run(StepPlan(chunks=(chunk(sequence, start, end),))).clone()
        for start, end in itertools.pairwise(borders)
    ]
    return torch.cat(rows)


def decode(runner: NativeRunner, token_ids: Sequence[int], slot: int, start: int) -> torch.Tensor:
    """The logits of the rows from `start` on, one a step; what is before them is in the slot."""
    sequence = make_sequence(token_ids, slot, num_prompt=max(1, start), num_computed=start)
    rows = []
    while sequence.num_computed < len(token_ids):
        rows.append(runner.run(StepPlan(decodes=(sequence,))).clone())
        sequence.num_computed += 1
    return torch.cat(rows)


def verify(runner: NativeRunner, token_ids: Sequence[int], slot: int, start: int) -> torch.Tensor:
    """The logits of the rows from `start` on as one verification of guessed tokens."""
    sequence = make_sequence(token_ids[: start + 1], slot, num_computed=start)
    guessed = tuple(token_ids[start + 1 :])
    return runner.run(StepPlan(verifications=(Verification(sequence, start, guessed),))).clone()


def write_lively_model(folder: Path, family: str, **changes: Any) -> Path:
    """A tiny model whose norms are not all ones and whose biases are not all zeros."""
    write_model(folder, family, **changes)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def grid_matrix(rows: int, columns: int, seed: int = 0) -> torch.Tensor:
    """Weights as a 4-bit file has them: of each 32, whole numbers 0 to 15 times a half-precision
    scale, plus a minimum; both ends occur. `columns` is a multiple of 32.
    """
    torch.manual_seed(seed)
    steps = torch.randint(0, 16, (rows, columns // 32, 32)).float()
    steps[..., 0], steps[..., 1] = 0, 15
    scale = (0.005 + 0.03 * torch.rand(rows, columns // 32, 1)).half().float()
    minimum = (-7.5 * scale * (0.8 + 0.4 * torch.rand_like(scale))).half().float()
    return (steps * scale + minimum).reshape(rows, columns)


def on_a_grid(folder: Path) -> None:
    """Give every linear layer of the model in `folder` weights that 4 bits hold exactly."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        for seed, module in enumerate(model.modules()):
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(grid_matrix(*module.weight.shape, seed=seed))
    model.save_pretrained(folder)
