"""Models by name: found, loaded, described, optimized and unloaded."""

from __future__ import annotations

import gc
import shutil
import weakref
from pathlib import Path

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import BackendUnavailable, LoadError
from inference.engine.model_manager import ModelManager
from inference.protocol import Failed, Finished, Prompt, SamplingParams, Submit
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.tiny_ggufs import write_gguf
from tests.inference.engine.tiny_models import write_model


@pytest.fixture
def root(tiny_model: Path, tmp_path: Path) -> Path:
    """A plain folder, two revisions of a model in a hub cache, and a GGUF file."""
    shutil.copytree(tiny_model, tmp_path / "root" / "tiny")
    snapshots = tmp_path / "root" / "models--org--chat" / "snapshots"
    write_model(snapshots / "aaaa", seed=1)
    write_model(snapshots / "bbbb", seed=2, num_hidden_layers=2)
    (snapshots.parent / "refs").mkdir()
    (snapshots.parent / "refs" / "main").write_text("aaaa")
    write_gguf(tmp_path / "root" / "quantized.gguf")
    return tmp_path / "root"


@pytest.fixture
def manager(root: Path, tmp_path: Path) -> ModelManager:
    config = EngineConfig(
        num_slots=2,
        num_threads=1,
        backend="cpu",
        optimization_level=0,
        cache_dir=str(tmp_path / "cache"),
    )
    return ModelManager(root, config)


def test_a_model_is_described_without_loading_it(manager: ModelManager) -> None:
    info = manager.get_model_info("org/chat")
    assert (info.stored.revision, info.stored.revisions) == ("aaaa", ("aaaa", "bbbb"))
    assert (info.files.architecture, info.is_loaded) == ("LlamaForCausalLM", False)
    assert info.estimate.num_slots == 2
    assert manager.get_model_info("quantized").files.format == "gguf"
    assert [model.model_id for model in manager.list_models()] == ["org/chat", "quantized", "tiny"]


def test_several_models_are_held_and_unloaded_one_by_one(manager: ModelManager) -> None:
    first, second = manager.load_model("tiny"), manager.load_model("org/chat@bbbb")
    assert second.served.loaded.files.num_layers == 2
    assert manager.load_model("tiny") is first
    assert manager.get_model_info("tiny").is_loaded
    assert not manager.get_model_info("org/chat").is_loaded
    weights = weakref.ref(first.served.loaded.model)
    manager.unload_model("tiny")
    gc.collect()
    assert weights() is None
    with pytest.raises(LoadError, match="unloaded"):
        _ = first.served
    assert second.served.capacity.num_slots == 2
    with pytest.raises(LoadError) as refusal:
        manager.unload_model("tiny")
    assert refusal.value.code is ErrorCode.MODEL_NOT_FOUND


def test_a_loaded_model_can_be_served(manager: ModelManager) -> None:
    model = manager.load_model("quantized")
    events: list[object] = []
    engine = Engine(model.backend, model.served, events.extend)
    params = SamplingParams(max_tokens=3, ignore_eos=True)
    engine.submit(Submit("r", Prompt(token_ids=(1, 2)), params, 60.0))
    engine.drain(60.0)
    while not any(isinstance(event, Finished | Failed) for event in events):
        engine._receive(wait=False)
        engine.step()
    assert any(isinstance(event, Finished) for event in events)


def test_levels_that_a_backend_lacks_are_refused(manager: ModelManager) -> None:
    model = manager.load_model("tiny")
    manager.optimize_model(model, 0)
    with pytest.raises(LoadError, match="99") as refusal:
        manager.optimize_model(model, 99)
    assert refusal.value.code is ErrorCode.INVALID_INPUT


def test_what_is_not_there_is_refused(manager: ModelManager, tmp_path: Path) -> None:
    for name in ("nobody", "../root/tiny", "org/chat@cccc"):
        with pytest.raises(LoadError) as refusal:
            manager.load_model(name)
        assert refusal.value.code is ErrorCode.MODEL_NOT_FOUND
    with pytest.raises(BackendUnavailable):
        manager.load_model("tiny", backend="rocm")


def test_an_error_names_the_file_that_people_know(manager: ModelManager, root: Path) -> None:
    stored = manager.load_model("quantized").stored
    config = EngineConfig(num_threads=1, backend="cpu", max_memory_bytes=10**6,
                          cache_dir=manager._config.cache_dir)  # fmt: skip
    with pytest.raises(LoadError, match=str(root / "quantized.gguf")):
        ModelManager(root, config).load_stored(stored)
