"""The trial of a device, tried on the CPU: random weights, parity, figures, exit status."""

from __future__ import annotations

import json

import pytest
import torch

from inference.engine.config import EngineConfig
from inference.engine.paged.serving import build_paged
from inference.engine.quantized_linear import quantize_linears
from inference.engine.trial import __main__ as trial
from inference.engine.trial.parity import compare
from inference.engine.trial.random_llama import SHAPES, make_llama, weight_bytes

QUICK = [
    *("--device", "cpu", "--shape", "tiny", "--batch", "1", "3"),
    *("--context", "70", "--steps", "2", "--prefill", "128"),
]


def test_it_tells_parity_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert trial.main([*QUICK, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parity"]["is_right"]
    assert report["parity"]["num_positions"] == 700
    assert [speed["batch"] for speed in report["decode"]] == [1, 3]
    assert report["attention"] == "gathered"
    assert report["peak_bytes"] > 0
    assert "against float32: right" in trial.describe(report)


def test_wrong_logits_are_an_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trial, "_TOLERANCE", {torch.float32: -1.0})
    assert trial.main(QUICK) == 1
    assert "against float32: WRONG" in capsys.readouterr().out


def test_what_cannot_be_tried_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*QUICK, "--num-heads", "3"]
    assert trial.main(arguments) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_the_presets_are_the_models_that_they_name() -> None:
    with torch.device("meta"):
        for name, billions in (("1b", 1.236), ("8b", 8.030)):
            shape = SHAPES[name]
            head = shape.head_dim * (2 * shape.num_heads + 2 * shape.num_kv_heads)
            layer = shape.hidden_size * (head + 3 * shape.intermediate_size)
            tables = (1 if shape.is_tied else 2) * shape.vocab_size * shape.hidden_size
            assert (shape.num_layers * layer + tables) / 1e9 == pytest.approx(billions, abs=0.001)


def test_int8_is_compared_with_the_weights_that_it_has() -> None:
    loaded = make_llama(SHAPES["tiny"], torch.device("cpu"), torch.float32)
    before = weight_bytes(loaded.model)
    assert quantize_linears(loaded.model) == 21
    assert weight_bytes(loaded.model) < before / 2
    config = EngineConfig(num_slots=2, max_model_len=256)
    serving = build_paged(loaded, config, lambda device: None)
    tokens = [(31 * index * index + 5) % 264 for index in range(200)]
    assert compare(loaded, serving, tokens, chunk=64, num_decodes=5).difference < 1e-3
