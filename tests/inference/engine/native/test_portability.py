"""The same source for lesser CPUs: every variant of a kernel that this machine can run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference.engine.native.artifact import Artifact
from inference.engine.native.compiler import FLAGS, build_library, open_library
from inference.engine.native.library import KernelLibrary
from tests.inference.engine.native.packed_models import (
    decode,
    on_a_grid,
    pack_model,
    prefill,
    random_ids,
    running,
    write_lively_model,
)

LENGTH = 100
HASWELL = "haswell"  # AVX2, FMA and F16C, without AVX-512
PLAIN = "x86-64-v2"  # SSE4 alone: no fused multiply-add, no half precision


def runs(march: str) -> bool:
    """Whether this machine has the instructions."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    found = {word for line in lines if line.startswith("flags") for word in line.split()}
    needed = {HASWELL: {"avx2", "fma", "f16c", "bmi2", "movbe"}, PLAIN: {"sse4_2", "popcnt"}}
    return needed[march] <= found


def build(march: str, folder: Path) -> KernelLibrary:
    """The kernels for such a machine; less optimized, which is done sooner and rounds alike."""
    changes = {"-march=native": f"-march={march}", "-O3": "-O1"}
    assert set(changes) <= set(FLAGS)
    flags = tuple(changes.get(flag, flag) for flag in FLAGS)
    return open_library(build_library(folder, flags))


@pytest.mark.parametrize("march", [HASWELL, PLAIN])
def test_lesser_cpus_compute_the_same(
    march: str, library: KernelLibrary, kernel_cache: Path, tmp_path: Path
) -> None:
    if not runs(march):
        pytest.skip(f"this machine does not run code for {march}")
    other = build(march, kernel_cache)
    for family in ("gemma2", "llama"):
        path = write_lively_model(tmp_path / family, family)
        if family == "llama":
            on_a_grid(path)
        packed, packed_there = pack_model(library, path), pack_model(other, path)
        for name, tensor in packed.artifact.tensors.items():
            assert torch.equal(tensor, packed_there.artifact.tensors[name]), name
        here, there = (logits(kernels, packed.artifact) for kernels in (library, other))
        if march == HASWELL:
            # The same sums in the same order, each product added with one rounding.
            assert torch.equal(there, here)
            continue
        # Products are rounded before they are added, which may move an activation by a step.
        difference = (here - there).norm(dim=-1) / here.norm(dim=-1)
        assert difference.max() < 0.05
        assert difference.mean() < 0.02


def logits(library: KernelLibrary, artifact: Artifact) -> torch.Tensor:
    token_ids = random_ids(LENGTH, seed=8)
    with running(library, artifact) as runner:
        whole = prefill(runner, token_ids, 0)
        assert torch.equal(decode(runner, token_ids, 1, start=0), whole)
    return whole
