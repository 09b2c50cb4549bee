"""A GGUF file is served as it lies: converted once, found again, converted anew when it changes."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from inference.engine.convert import convert_gguf
from inference.engine.errors import LoadError
from inference.engine.gguf_loading import ensure_converted
from inference.engine.gguf_rope import llama3_divisors
from inference.gguf_files import converted_folder
from inference.model_files import read_json_object
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.engine.harness import running_engine
from tests.inference.engine.tiny_ggufs import (
    CONTEXT,
    HEADS,
    KV_HEADS,
    LAYERS,
    RANDOM_BLOCKS,
    WIDTH,
    Array,
    write_gguf,
)
from tests.inference.engine.tiny_models import write_model

PLAIN = (Kind.F32, Kind.F16, Kind.BF16, Kind.Q4_0, Kind.Q4_1, Kind.Q5_0, Kind.Q5_1, Kind.Q8_0)


def ignore(stage: str, fraction: float) -> None:
    """No one looks at the progress."""


def hf_name(name: str) -> str:
    """transformers' name of a GGUF tensor that keeps its layout."""
    parts = {"ffn_down": "mlp.down_proj", "ffn_up": "mlp.up_proj", "attn_v": "self_attn.v_proj"}
    _, layer, part, suffix = name.split(".")
    return f"model.layers.{layer}.{parts[part]}.{suffix}"


@pytest.mark.parametrize("kind", [*PLAIN, *RANDOM_BLOCKS], ids=lambda kind: kind.name)
def test_every_quantization_keeps_its_values(kind: Kind, tmp_path: Path) -> None:
    width = 256 if kind in RANDOM_BLOCKS else WIDTH
    stored = write_gguf(tmp_path / "m.gguf", kind=kind, width=width)
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out", ignore)
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert weights["model.norm.weight"].dtype is {
        Kind.F32: torch.float32, Kind.BF16: torch.bfloat16
    }.get(kind, torch.float16)  # fmt: skip
    for part in ("ffn_down", "ffn_up", "attn_v"):
        name = f"blk.1.{part}.weight"
        ours, theirs = weights[hf_name(name)].float().numpy(), stored[name]
        assert np.allclose(ours, theirs, rtol=2**-10, atol=1e-7), name


def as_llama_cpp(rows: Array, num_heads: int) -> Array:
    """llama.cpp's order of the rotary rows: pairs beside each other."""
    halves = rows.reshape(num_heads, 2, rows.shape[0] // num_heads // 2, *rows.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2).reshape(rows.shape))


def gguf_of_model(path: Path, file: Path, family: str) -> None:
    """The model in folder `path` as a GGUF of plain float32."""
    model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    names = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    weights: dict[str, Array] = {}
    for name, tensor in model.state_dict().items():
        values = tensor.numpy().copy()
        if ".layers." in name:
            _, _, layer, *part, suffix = name.split(".")
            target = f"blk.{layer}.{names['.'.join(part)]}.{suffix}"
            if family == "llama" and "attn_q." in target:
                values = as_llama_cpp(values, HEADS)
            if family == "llama" and "attn_k." in target:
                values = as_llama_cpp(values, KV_HEADS)
        else:
            target = {
                "model.embed_tokens.weight": "token_embd.weight",
                "model.norm.weight": "output_norm.weight",
                "lm_head.weight": "output.weight",
            }[name]
        weights[target] = values
    write_gguf(file, architecture=family, kind=Kind.F32, weights=weights)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_a_gguf_answers_like_the_model_that_it_was_made_from(family: str, tmp_path: Path) -> None:
    path = write_model(
        tmp_path / "model", family, vocab_size=258, num_hidden_layers=LAYERS, rms_norm_eps=1e-5,
        max_position_embeddings=CONTEXT, eos_token_id=257, rope_theta=10000.0,
    )  # fmt: skip
    gguf_of_model(path, tmp_path / f"{family}.gguf", family)
    prompt = [(7 + 7 * i * i) % 256 for i in range(40)]
    params: dict[str, Any] = {"max_tokens": 30, "logprobs": 1}
    with running_engine(path) as engine:
        expected = engine.ask(prompt, **params).logprobs
    with running_engine(tmp_path / f"{family}.gguf", cache_dir=str(tmp_path / "cache")) as engine:
        found = engine.ask(prompt, **params).logprobs
    assert expected is not None
    assert found is not None
    ours, theirs = [t.logprob for t in found], [t.logprob for t in expected]
    assert ours == pytest.approx(theirs, abs=1e-3)


def test_a_file_is_converted_once_and_anew_when_it_changes(tmp_path: Path) -> None:
    file, cache = tmp_path / "tiny.gguf", tmp_path / "cache"
    write_gguf(file)
    stages: list[str] = []
    first = ensure_converted(file, cache, lambda stage, fraction: stages.append(stage))
    assert first == converted_folder(file, cache)
    assert "convert: load" in stages
    stages.clear()
    assert ensure_converted(file, cache, lambda stage, fraction: stages.append(stage)) == first
    assert stages == []
    # One that was damaged since is made again.
    (first / "model.safetensors").write_bytes(b"cut")
    assert ensure_converted(file, cache, ignore) == first
    os.utime(file, (1, 1))
    second = ensure_converted(file, cache, ignore)
    assert second != first
    assert not first.exists()


def test_a_folder_with_one_gguf_is_that_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    write_gguf(tmp_path / "model" / "weights.gguf")
    with running_engine(tmp_path / "model", cache_dir=str(tmp_path / "cache")) as engine:
        assert engine.ask([1, 2, 3], max_tokens=3).usage.completion_tokens == 3
        assert engine.running.describe(0.0).capabilities["batching"] == "continuous"


def test_what_cannot_be_converted_is_told_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "tiny.gguf"
    write_gguf(file)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(LoadError, match=r"tiny\.gguf: truncated"):
        ensure_converted(file, tmp_path / "cache", ignore)
    write_gguf(file, scale=1e6)
    with pytest.raises(LoadError, match=r"tiny\.gguf: cannot be converted: .*cannot hold"):
        ensure_converted(file, tmp_path / "cache", ignore)
    assert [path for path in (tmp_path / "cache" / "gguf").iterdir() if path.is_dir()] == []


def test_a_converter_that_dies_is_told(tmp_path: Path) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    dying = (sys.executable, "-c", "print('last words'); raise SystemExit(3)")
    with pytest.raises(LoadError, match="status 3: last words"):
        ensure_converted(tmp_path / "tiny.gguf", tmp_path / "cache", ignore, dying)


def test_a_conversion_beyond_memory_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_gguf(tmp_path / "tiny.gguf")
    monkeypatch.setattr("inference.engine.gguf_loading.available_bytes", lambda: 1000)
    with pytest.raises(LoadError, match="GiB free") as refusal:
        ensure_converted(tmp_path / "tiny.gguf", tmp_path / "cache", ignore)
    assert refusal.value.code is ErrorCode.INSUFFICIENT_MEMORY


def with_divisors(file: Path, divisors: list[float]) -> None:
    from tests.inference.engine.tiny_ggufs import random_weights

    weights = random_weights("llama", WIDTH, 0.1)
    weights["rope_freqs.weight"] = np.array(divisors, np.float32)
    write_gguf(file, weights=weights)


def test_the_stretched_rotary_embedding_of_llama_3_is_kept(tmp_path: Path) -> None:
    divisors = llama3_divisors(WIDTH // HEADS // 2, 10_000.0, 8.0)
    assert divisors[0] == 1.0
    with_divisors(tmp_path / "m.gguf", divisors)
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out", ignore)
    rope = read_json_object(tmp_path / "out" / "config.json")["rope_parameters"]
    assert (rope["rope_type"], rope["factor"]) == ("llama3", 8.0)


def test_a_rotary_embedding_of_no_known_rule_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_divisors(tmp_path / "m.gguf", [1.0, 5.0, 2.0, 8.0, 1.0, 1.0, 1.0, 3.0])
    convert_gguf(tmp_path / "m.gguf", tmp_path / "out", ignore)
    assert "no known rule" in capsys.readouterr().err
