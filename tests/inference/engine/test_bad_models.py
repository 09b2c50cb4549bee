"""Broken models are refused by file and reason, and the engines of other models never notice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.protocol import Finished, Loaded, LoadFailed
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.test_process import Child
from tests.inference.engine.tiny_ggufs import write_gguf
from tests.inference.engine.tiny_models import byte_tokenizer, write_model

Damage = Callable[[Path], Path]


def change_config(folder: Path, **changes: Any) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    return folder


def cut_weights(folder: Path) -> Path:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    return folder


def fill_with_nan(folder: Path) -> Path:
    file = folder / "model.safetensors"
    weights = {name: torch.full_like(tensor, torch.nan) for name, tensor in load_file(file).items()}
    save_file(weights, file, {"format": "pt"})
    return folder


def lose_the_tokenizer(folder: Path) -> Path:
    (folder / "tokenizer.json").unlink()
    return folder


def take_another_tokenizer(folder: Path) -> Path:
    byte_tokenizer().save(str(folder / "tokenizer.json"))
    weights = load_file(folder / "model.safetensors")
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = torch.cat([weights[name]] * 4)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return change_config(folder, vocab_size=4 * 264)


def be_of_no_family(folder: Path) -> Path:
    return change_config(folder, model_type="no_such_family")


def ask_for_wide_layers(folder: Path) -> Path:
    return change_config(folder, intermediate_size=10**11)


def ask_for_wide_heads(folder: Path) -> Path:
    return change_config(folder, head_dim=10**6)


def ask_for_many_layers(folder: Path) -> Path:
    return change_config(folder, num_hidden_layers=9000)


def be_a_cut_gguf(folder: Path) -> Path:
    write_gguf(folder / "cut.gguf")
    (folder / "cut.gguf").write_bytes((folder / "cut.gguf").read_bytes()[:-2000])
    return folder / "cut.gguf"


def be_nothing(folder: Path) -> Path:
    return folder / "nowhere"


DAMAGES: list[tuple[Damage, str]] = [
    (cut_weights, r"model\.safetensors: truncated"),
    (fill_with_nan, "weights hold NaN"),
    (lose_the_tokenizer, r"tokenizer\.json: missing"),
    (take_another_tokenizer, r"tokenizer\.json: 257 tokens do not belong to the 1056 rows"),
    (be_of_no_family, "no_such_family"),
    (ask_for_wide_layers, r"shapes that config\.json asks for"),
    (ask_for_wide_heads, "config.json asks for|GiB free"),
    (ask_for_many_layers, "9000 layers"),
    (be_nothing, "no such model folder"),
]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize(
    ("damage", "match"), DAMAGES, ids=lambda item: getattr(item, "__name__", "")
)
def test_a_broken_model_is_refused_by_file_and_reason(
    damage: Damage, match: str, folder: Path
) -> None:
    backend = CpuBackend()
    assert backend.initialize()
    path = damage(folder)
    with pytest.raises(LoadError, match=match) as refusal:
        backend.load_model(str(path), EngineConfig(num_threads=1))
    assert str(path) in refusal.value.message
    assert refusal.value.code in (ErrorCode.MODEL_LOAD_FAILED, ErrorCode.INSUFFICIENT_MEMORY)


@pytest.fixture(scope="module")
def neighbour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """The engine process of a healthy model."""
    child = Child()
    assert isinstance(child.load(write_model(tmp_path_factory.mktemp("healthy"))), Loaded)
    yield child
    child.channel.close()
    child.process.wait(60)
    for pipe in (child.process.stdout, child.process.stderr):
        assert pipe is not None
        pipe.close()


@pytest.mark.parametrize(
    "damage",
    [cut_weights, ask_for_wide_layers, be_a_cut_gguf, fill_with_nan],
    ids=lambda d: d.__name__,
)
def test_the_engine_of_another_model_goes_on(
    damage: Damage, neighbour: Child, folder: Path, tmp_path: Path
) -> None:
    path = damage(folder)
    neighbour.submit(damage.__name__, max_tokens=200)
    child = Child()
    try:
        failed = child.load(path, cache_dir=str(tmp_path / "cache"))
        assert isinstance(failed, LoadFailed)
        assert str(path) in failed.message
        assert child.wait_for_exit() == 1
    finally:
        child.channel.close()
        child.process.communicate(timeout=60)
    finished = neighbour.wait_for(Finished)
    assert finished.request_id == damage.__name__
    assert finished.usage.completion_tokens == 200
    assert neighbour.process.poll() is None
