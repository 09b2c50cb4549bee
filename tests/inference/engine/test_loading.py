"""What cannot be loaded is refused with file and reason; memory is planned, not hoped for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import LayerShape
from inference.engine.kv_cache.slotted import SlottedKVCache
from inference.engine.memory import resident_bytes
from tests.inference.engine.tiny_models import write_model


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model to be broken."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def load(path: Path, **settings: Any) -> Any:
    backend = CpuBackend()
    assert backend.initialize()
    return backend.load_model(str(path), EngineConfig(num_threads=1, **settings))


def change_config(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file(weights, file, {"format": "pt"})


def test_a_model_loads_in_the_type_that_is_asked_for(folder: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        served = load(folder, dtype=dtype, num_slots=2)
        assert next(served.loaded.model.parameters()).dtype is getattr(torch, dtype)


def test_a_missing_tensor_is_refused_by_name(folder: Path) -> None:
    change_weights(folder, lambda weights: weights.pop("model.layers.1.mlp.up_proj.weight"))  # type: ignore[arg-type, return-value]
    with pytest.raises(LoadError, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        load(folder)


def test_a_tensor_of_another_shape_is_refused(folder: Path) -> None:
    change_config(folder, intermediate_size=128)
    with pytest.raises(LoadError, match="model"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"model_type": "no_such_family"}, "no_such_family"),
        (
            {"model_type": "no_such_family", "auto_map": {"AutoConfig": "evil.Config"}},
            "config.json",
        ),
        ({"hidden_act": "no_such_function"}, "no_such_function"),
        ({"num_key_value_heads": 3}, str),
        ({"vocab_size": 2**40}, "vocab_size"),
        ({"layer_types": ["chunked_attention"] * 3}, "llama does not run"),
    ],
)
def test_a_config_that_cannot_be_served_is_refused(
    changes: dict[str, Any], match: Any, folder: Path
) -> None:
    change_config(folder, **changes)
    with pytest.raises(LoadError, match=None if match is str else match):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"layer_types": ["chunked_attention"] * 3, "attention_chunk_size": 16},
            "chunked_attention",
        ),
        ({"num_kv_shared_layers": 2}, "shares caches"),
    ],
)
def test_what_packed_rows_cannot_compute_is_left_to_transformers(
    changes: dict[str, Any], reason: str, folder: Path
) -> None:
    change_config(folder, **changes)
    served = load(folder)
    assert reason in served.loaded.serial_reason
    assert served.capacity.num_slots == 1


def test_code_of_the_model_is_never_run(folder: Path) -> None:
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\nclass Config: pass\n")
    change_config(
        folder,
        model_type="evil",
        auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.M"},
    )
    with pytest.raises(LoadError):
        load(folder)
    assert not (folder / "ran").exists()


def test_a_position_bias_of_its_own_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What no config tells: the model's own attention adds something that ours does not know of.
    from transformers.models.llama import modeling_llama

    eager = modeling_llama.eager_attention_forward

    def biased(module: Any, query: Any, *rest: Any, **keywords: Any) -> Any:
        return eager(module, query * 1.5, *rest, **keywords)

    monkeypatch.setattr(modeling_llama, "eager_attention_forward", biased)
    served = load(folder)
    assert served.loaded.is_serial
    assert "attention differs" in served.loaded.serial_reason


def test_weights_that_are_not_numbers_are_noticed(folder: Path) -> None:
    change_weights(folder, lambda weights: weights["model.norm.weight"].fill_(torch.nan))  # type: ignore[arg-type, return-value]
    with pytest.raises(LoadError, match="weights hold NaN"):
        load(folder)


def test_a_rope_that_depends_on_the_length_serves_its_first_part(tmp_path: Path) -> None:
    factors = [1.0] * 8
    path = write_model(
        tmp_path,
        "phi3",
        rope_parameters={
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "short_factor": factors,
            "long_factor": [4.0] * 8,
            "original_max_position_embeddings": 128,
        },
        original_max_position_embeddings=128,
    )
    assert load(path).capacity.max_model_len == 128


def test_the_cache_takes_memory_only_where_it_is_written() -> None:
    before = resident_bytes()
    cache = SlottedKVCache(
        [LayerShape(3, 64, 64)] * 30,
        num_slots=32,
        slot_len=2048,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    assert cache.num_bytes == 3 * 1024**3 * 15 // 16
    assert resident_bytes() - before < 20_000_000
    rows = torch.arange(64)
    cache.write(0, rows * 0 + 5, rows, torch.ones(64, 3, 64), torch.ones(64, 3, 64))
    assert resident_bytes() - before < 30_000_000
    assert float(cache.keys[0].view(32, -1)[5].sum()) == 64 * 3 * 64
    cache.scrub(5, 64)
    assert float(cache.keys[0][5].abs().sum()) == 0
