"""The flowchart of the design document, every rejection with its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from inference.engine.backends.base import BaseBackend
from inference.engine.backends.cpu import CpuBackend
from inference.engine.backends.cuda import CudaBackend
from inference.engine.backends.rocm import RocmBackend
from inference.engine.backends.selection import select_backend
from inference.engine.errors import BackendUnavailable, EngineError
from inference.engine.step_plan import StepPlan

ROOT = Path(__file__).resolve().parents[3]


def fake(name: str, obstacle: str | None, computation: str | None = None) -> type[BaseBackend]:
    """A backend of that name which finds that obstacle, or whose computation fails like that."""

    class Fake(CpuBackend):
        def _find_obstacle(self) -> str | None:
            return obstacle

        def _try_compute(self) -> str | None:
            return computation

    Fake.name = name
    return Fake


@pytest.mark.parametrize(
    ("cuda", "rocm", "selected", "rejected"),
    [
        (None, None, "cuda", []),
        ("no driver", None, "rocm", ["cuda"]),
        ("no driver", "no device", "cpu", ["cuda", "rocm"]),
    ],
)
def test_cuda_then_rocm_then_cpu(
    cuda: str | None, rocm: str | None, selected: str, rejected: list[str]
) -> None:
    candidates = (fake("cuda", cuda), fake("rocm", rocm), fake("cpu", None))
    selection = select_backend("auto", candidates)
    assert selection.backend.name == selected
    assert list(selection.rejected) == rejected


def test_a_device_that_is_there_but_cannot_compute_is_passed_over() -> None:
    candidates = (
        fake("cuda", None, "a test computation failed: no kernel image"),
        fake("cpu", None),
    )
    selection = select_backend("auto", candidates)
    assert selection.backend.name == "cpu"
    assert "no kernel image" in selection.rejected["cuda"]


def test_a_name_overrides_the_order() -> None:
    candidates = (fake("cuda", None), fake("rocm", None), fake("cpu", None))
    assert select_backend("cpu", candidates).backend.name == "cpu"
    assert select_backend("rocm", candidates).rejected == {}


def test_asking_for_an_absent_backend_says_why() -> None:
    with pytest.raises(BackendUnavailable, match="cuda: no driver") as refusal:
        select_backend("cuda", (fake("cuda", "no driver"), fake("cpu", None)))
    assert refusal.value.rejected == {"cuda": "no driver"}
    with pytest.raises(BackendUnavailable, match="'tpu' is not one of auto, cpu"):
        select_backend("tpu", (fake("cpu", None),))


def test_a_build_without_the_runtime_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.version, "hip", None)
    cuda, rocm = CudaBackend(), RocmBackend()
    assert not cuda.initialize()
    assert not rocm.initialize()
    assert "without CUDA" in (cuda.rejection or "")
    assert "without ROCm" in (rocm.rejection or "")


def test_a_build_without_a_device_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    backend = CudaBackend()
    assert not backend.initialize()
    assert backend.rejection == "no CUDA device or driver was found"


def test_a_wrong_or_failing_computation_is_an_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = CpuBackend()

    def fail(*args: Any, **keywords: Any) -> torch.Tensor:
        raise RuntimeError("invalid device function")

    monkeypatch.setattr(torch, "ones", lambda *shape, **keywords: torch.zeros(*shape))
    assert not backend.initialize()
    assert "gave 0.0 instead of 512" in (backend.rejection or "")
    monkeypatch.setattr(torch, "ones", fail)
    assert not backend.initialize()
    assert "invalid device function" in (backend.rejection or "")


def test_the_cpu_tells_what_it_is_and_has() -> None:
    backend = CpuBackend()
    assert backend.initialize()
    # As strict as the wire: no subclass of str, no tuple.
    assert json.loads(msgspec.json.encode(backend.get_capabilities()))["num_threads"] >= 1
    assert backend.get_metrics()["resident_bytes"] > 0
    with pytest.raises(EngineError, match="no model"):
        backend.infer(StepPlan())


def test_infer_gives_logits_of_the_vocabulary(tiny_model: Path) -> None:
    backend = CpuBackend()
    backend.initialize()
    served = backend.load_model(str(tiny_model))
    assert backend.infer(StepPlan()).shape == (0, served.loaded.files.vocab_size)
    assert backend.get_metrics()["steps"] == 1


def test_the_command_line_prints_json_for_processes_without_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inference.engine.backends", "--backend", "cpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    report = json.loads(done.stdout)
    assert report["selected"] == "cpu"
    assert report["capabilities"]["instruction_set"]
    refused = subprocess.run(
        [sys.executable, "-m", "inference.engine.backends", "--backend", "rocm"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    report = json.loads(refused.stdout)
    assert (refused.returncode, report["selected"]) == (1, None)
    assert report["rejected"]["rocm"] in report["error"]
