"""Preparing the fast path: by a call, and by the command line that a served engine starts."""

from __future__ import annotations

import json
import subprocess
from itertools import groupby
from pathlib import Path

import pytest
import torch

from inference.engine.native.__main__ import main
from inference.engine.native.artifact import artifact_file
from inference.engine.native.extract import UnsupportedModel
from inference.engine.native.preparation import Prepared, prepare
from inference.engine.native.store import find_fast_path
from inference.model_files import read_model_files
from tests.inference.engine.native.packed_models import pack_model, prefill, random_ids, running
from tests.inference.engine.tiny_models import write_model


@pytest.fixture(scope="module")
def stages() -> list[tuple[str, float]]:
    return []


@pytest.fixture(scope="module")
def prepared(quick_model: Path, kernel_cache: Path, stages: list[tuple[str, float]]) -> Prepared:
    return prepare(
        read_model_files(quick_model), kernel_cache, 1, lambda *stage: stages.append(stage)
    )


def test_what_was_prepared_is_found(
    prepared: Prepared, quick_model: Path, kernel_cache: Path
) -> None:
    files = read_model_files(quick_model)
    assert prepared.file == artifact_file(kernel_cache, files)
    found = find_fast_path(kernel_cache, files)
    assert found is not None
    assert found.artifact.qualification == prepared.qualification


def test_it_was_measured_over_the_whole_text(prepared: Prepared) -> None:
    qualification = prepared.qualification
    assert qualification.num_tokens > 500
    assert 0.9 < qualification.perplexity_ratio < 1.1
    assert qualification.top1_agreement > 0.9


def test_every_stage_goes_from_0_to_1(prepared: Prepared, stages: list[tuple[str, float]]) -> None:
    names = [name for name, _ in groupby(name for name, _ in stages)]
    assert names[0] == "kernels"
    assert names[-4:] == ["reference", "pack", "quality", "write"]
    for name in ("kernels", "reference", "pack", "quality", "write"):
        fractions = [fraction for stage, fraction in stages if stage == name]
        assert fractions == sorted(fractions)
        assert fractions[0] >= 0
        assert fractions[-1] == 1.0


def test_what_is_found_computes_as_what_was_packed(
    prepared: Prepared, quick_model: Path, kernel_cache: Path
) -> None:
    found = find_fast_path(kernel_cache, read_model_files(quick_model))
    assert found is not None
    packed = pack_model(found.library, quick_model)
    token_ids = random_ids(100, seed=2)
    logits = []
    for artifact in (found.artifact, packed.artifact):
        with running(found.library, artifact) as runner:
            logits.append(prefill(runner, token_ids, 0))
    assert torch.equal(*logits)


def test_drafts_of_killed_writers_are_cleared_away(quick_model: Path, kernel_cache: Path) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    draft = kernel_cache / "packed" / f"it.{child.pid}"
    draft.parent.mkdir(exist_ok=True)
    draft.touch()
    prepare(read_model_files(quick_model), kernel_cache, 1, lambda stage, fraction: None)
    assert not draft.exists()


def test_other_families_are_refused_before_they_are_loaded(
    kernel_cache: Path, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "gpt2", "gpt2")
    stages: list[str] = []
    with pytest.raises(UnsupportedModel, match="gpt2"):
        prepare(read_model_files(folder), kernel_cache, 1, lambda stage, _: stages.append(stage))
    assert stages == []


def run(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str]]:
    """Status, lines of stdout and lines of stderr of the command line."""
    capfd.readouterr()
    status = main(["--threads", "1", *arguments])
    captured = capfd.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


def test_the_command_line_tells_its_progress_and_its_result(
    quick_model: Path, kernel_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capfd, "--model", str(quick_model), "--cache-dir", str(kernel_cache))
    assert status == 0
    lines = [json.loads(line) for line in out]
    assert all(set(line) == {"stage", "fraction"} for line in lines[:-1])
    file = artifact_file(kernel_cache, read_model_files(quick_model))
    assert lines[-1]["file"] == str(file)
    assert {"perplexity_ratio", "top1_agreement", "num_tokens"} < set(lines[-1])


@pytest.mark.parametrize(
    ("family", "compiler", "status", "reason"),
    [
        ("llama", "/nonexistent", 1, "error: no C++ compiler was found (/nonexistent)"),
        ("qwen3_moe", "", 3, "the family qwen3_moe has no kernels"),
    ],
)
def test_the_command_line_says_in_one_line_why_not(
    family: str,
    compiler: str,
    status: int,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("CXX", compiler)
    folder = write_model(tmp_path / "model", family)
    found, out, err = run(capfd, "--model", str(folder), "--cache-dir", str(tmp_path / "cache"))
    assert found == status
    assert [json.loads(line)["stage"] for line in out] == ["kernels"] * (status == 1)
    assert len(err) == 1
    assert reason in err[0]
