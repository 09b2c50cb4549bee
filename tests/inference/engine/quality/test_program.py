"""`python -m inference.engine.quality` and `manage.py quality`: figures, exit status, errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from django.core.management import call_command

from inference.engine.quality import gate
from inference.engine.quality.child import main as run_child
from inference.engine.quality.task import Subject, Task, read_outcome, write_task
from inference.management.commands import quality
from tests.inference.engine.quality.models import read_model, write_variant

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quality-data")


@pytest.fixture(autouse=True)
def own_cache(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is prepared for the default level here must not serve in other tests."""
    monkeypatch.setenv("LLAMA_DATA_DIR", str(data_dir))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inference.engine.quality", "--threads", "1", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_a_model_compared_with_itself_passes(byte_model: Path) -> None:
    done = run("--model", str(byte_model), "--level", "0", "--tokens", "600", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["passes"]
    assert report["perplexity_limit"] == 1.01
    [level] = report["levels"]
    assert level["level"] == 0
    assert level["num_tokens"] == 598
    assert level["perplexity_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert level["decoded_ratio"] == pytest.approx(1.0, abs=1e-6)
    assert level["top1_agreement"] > 0.99
    assert level["max_difference"] < 1e-3
    assert "level 0 float32 100%" in done.stderr


def test_a_model_that_is_worse_fails(byte_model: Path, tmp_path: Path) -> None:
    model = read_model(byte_model)
    with torch.no_grad():
        # Random weights that are twice as sure of what they foresee are wrong at twice the cost.
        model.lm_head.weight *= 2
    worse = write_variant(model, byte_model, tmp_path / "worse")
    done = run("--model", str(worse), "--reference-model", str(byte_model), "--tokens", "300")
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("299 tokens, perplexity in float32 ")
    assert lines[-1].startswith("default ")
    assert lines[-1].endswith("FAILS: the limits are 1.01, decoded 1.03")


def test_errors_are_one_line_on_stderr(tiny_model: Path, tmp_path: Path) -> None:
    for arguments, reason in (
        (("--model", str(tmp_path / "no")), "no such model folder"),
        (("--model", str(tiny_model), "--tokens", "3"), "too few to judge by"),
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_child_reports_why_it_could_not_measure(tiny_model: Path, tmp_path: Path) -> None:
    task, outcome = tmp_path / "task", tmp_path / "outcome"
    for subject, windows, reason in (
        (Subject(str(tmp_path / "no")), [[1, 2, 3]], "no such model folder"),
        (Subject(str(tiny_model), backend="rocm"), [[1, 2, 3]], "without ROCm"),
        (Subject(str(tiny_model)), [[1, 2, 9999]], "ValueError: a window has token ids outside"),
    ):
        write_task(task, Task(subject, windows))
        assert run_child([str(task), str(outcome)]) == 0
        assert reason in read_outcome(outcome).error


def test_a_child_that_dies_is_named(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "CHILD", (sys.executable, "-c", "import os; os._exit(9)"))
    subject = Subject(str(tiny_model), level=2)
    with pytest.raises(gate.EngineError, match="level 2: its process ended with status 9"):
        list(gate.judge(subject, [subject]))


def test_the_command_hands_folder_and_options_on(
    settings: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    script = "import sys; print(sys.argv[1:]); sys.exit('tiny' in sys.argv[2])"
    monkeypatch.setattr(quality, "PROGRAM", (sys.executable, "-c", script))
    call_command("quality", "--level", "0", "2", "--tokens", "50", "--json")
    folder = settings.LLAMA.model_path / settings.LLAMA.default_model
    expected = ["--model", str(folder), "--level", "0", "2", "--tokens", "50", "--json"]
    assert capfd.readouterr().out == f"{expected}\n"
    with pytest.raises(SystemExit) as stopped:
        call_command("quality", "tiny")
    assert stopped.value.code == 1
