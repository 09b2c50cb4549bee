"""The packed file: whole or not there, and a new one for a changed model."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from inference.engine.native.artifact import (
    Qualification,
    artifact_file,
    open_artifact,
    stale_drafts,
    write_artifact,
)
from inference.engine.native.library import KernelLibrary
from inference.model_files import read_model_files
from tests.inference.engine.native.packed_models import (
    PackedModel,
    pack_model,
    prefill,
    random_ids,
    running,
)
from tests.inference.engine.tiny_models import write_model

ROOT = Path(__file__).resolve().parents[4]
QUALIFICATION = Qualification(1.002, 0.97, 8000)


@pytest.fixture(scope="module")
def packed(library: KernelLibrary, tiny_model: Path) -> PackedModel:
    return pack_model(library, tiny_model)


@pytest.fixture
def file(packed: PackedModel, tmp_path: Path) -> Path:
    """A packed model on the disk."""
    file = tmp_path / "packed" / "it.safetensors"
    write_artifact(file, packed.artifact.shape, packed.artifact.tensors, QUALIFICATION)
    return file


def test_what_is_read_is_what_was_written(
    file: Path, packed: PackedModel, library: KernelLibrary
) -> None:
    found = open_artifact(file)
    assert found is not None
    assert found.shape == packed.artifact.shape
    assert found.qualification == QUALIFICATION
    for name, tensor in packed.artifact.tensors.items():
        assert torch.equal(found.tensors[name].flatten()[: tensor.numel()], tensor.flatten()), name
        assert found.tensors[name].data_ptr() % 64 == 0
    token_ids = random_ids(70, seed=1)
    with running(library, packed.artifact) as ours, running(library, found) as theirs:
        assert torch.equal(prefill(theirs, token_ids, 0), prefill(ours, token_ids, 0))


def test_a_file_without_a_qualification_says_so(packed: PackedModel, tmp_path: Path) -> None:
    file = tmp_path / "it.safetensors"
    write_artifact(file, packed.artifact.shape, packed.artifact.tensors, None)
    found = open_artifact(file)
    assert found is not None
    assert found.qualification is None


def test_no_file_is_no_model(tmp_path: Path) -> None:
    assert open_artifact(tmp_path / "none.safetensors") is None


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "garbage": lambda data: os.urandom(len(data)),
    "zeros": lambda data: bytes(len(data)),
    "only a length": lambda data: data[:8],
    "half a header": lambda data: data[:200],
    "half of it": lambda data: data[: len(data) // 2],
    "without its last byte": lambda data: data[:-1],
    "longer": lambda data: data + b"x",
    "another shape": lambda data: data.replace(b'\\"hidden\\"', b'\\"hiddem\\"'),
    "no metadata": lambda data: data.replace(b"__metadata__", b"__metabase__"),
    "no embeddings": lambda data: data.replace(b'"embeddings"', b'"embedbings"'),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_no_model(damage: str, file: Path) -> None:
    data = file.read_bytes()
    damaged = DAMAGES[damage](data)
    assert damaged != data
    file.write_bytes(damaged)
    assert open_artifact(file) is None


def test_a_disk_that_is_full_leaves_nothing_behind(
    packed: PackedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_artifact(tmp_path / "it.safetensors", packed.artifact.shape, {}, None)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_killed_leaves_no_file_and_its_draft_is_found(
    tmp_path: Path, file: Path
) -> None:
    code = f"""
import os, signal, sys
from pathlib import Path
from inference.engine.native import artifact
found = artifact.open_artifact(Path({str(file)!r}))
def kill(self, target):
    os.kill(os.getpid(), signal.SIGKILL)
Path.replace = kill
artifact.write_artifact(Path({str(tmp_path / "new.safetensors")!r}), found.shape, found.tensors, None)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT)
    assert done.returncode == -9
    assert not (tmp_path / "new.safetensors").exists()
    drafts = [draft for draft in tmp_path.iterdir() if draft.is_file()]
    assert len(drafts) == 1
    assert list(stale_drafts(tmp_path)) == drafts


def test_a_draft_of_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / f"it.{os.getpid()}").touch()
    (tmp_path / "it.safetensors").touch()
    assert list(stale_drafts(tmp_path)) == []


def test_a_changed_model_has_another_file(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    before = artifact_file(tmp_path, read_model_files(folder))
    assert artifact_file(tmp_path, read_model_files(folder)) == before
    os.utime(folder / "model.safetensors", ns=(1, 1))
    later = artifact_file(tmp_path, read_model_files(folder))
    assert later != before
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"rms_norm_eps": 1e-06', '"rms_norm_eps": 1e-05'))
    assert artifact_file(tmp_path, read_model_files(folder)) not in (before, later)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_embeddings_take_the_smallest_type_that_holds_them(
    dtype: torch.dtype, library: KernelLibrary, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    if dtype == torch.bfloat16:
        model.get_input_embeddings().weight.data[5, 5] = 2**-40  # nothing to half precision
    model.save_pretrained(folder)
    packed = pack_model(library, folder)
    table = packed.artifact.tensors["embeddings"]
    assert table.dtype == dtype
    weights = packed.model.get_input_embeddings().weight
    assert torch.equal(table.float(), weights)
    # The table in float32 gives the same rows.
    token_ids = random_ids(20, seed=0)
    with running(library, packed.artifact) as runner:
        narrow = prefill(runner, token_ids, 0)
    packed.artifact.tensors["embeddings"] = weights.detach()
    with running(library, packed.artifact) as runner:
        assert torch.equal(prefill(runner, token_ids, 0), narrow)
