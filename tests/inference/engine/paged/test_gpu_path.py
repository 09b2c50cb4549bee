"""All that a GPU runs but its kernels: stand-ins for the kernel and the recorder, a whole engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.paged import graphs, serving, varlen
from inference.engine.paged.attention import PagedStep
from inference.engine.tiling import TILE
from tests.inference.engine.harness import running_engine
from tests.inference.engine.paged.test_gathered import Kernel
from tests.inference.engine.paged.test_graphs import Recording
from tests.inference.engine.test_batching import make_prompts
from tests.inference.engine.tiny_models import write_model


@pytest.fixture
def recordings(monkeypatch: pytest.MonkeyPatch) -> list[Recording]:
    """Makes this test's CPU a GPU: its paged kernel and its graphs are stand-ins."""
    made: list[Recording] = []

    def record(forward: Any, step: PagedStep, pool: Any) -> tuple[Any, torch.Tensor]:
        with torch.inference_mode():
            made.append(Recording(forward, step))
        return made[-1], made[-1].logits

    monkeypatch.setattr(varlen, "varlen_attn", Kernel())
    monkeypatch.setattr(serving, "choose_varlen", lambda *args: True)
    monkeypatch.setattr(graphs, "make_recorder", lambda device: record)
    return made


@pytest.mark.parametrize("family", ["llama", "mistral"])
def test_recorded_steps_over_pages_say_what_slots_say(
    family: str,
    tmp_path: Path,
    recordings: list[Recording],
    serve_from_pages: Callable[[int], None],
) -> None:
    path = write_model(tmp_path, family)
    prompts = [prompt[:90] for prompt in make_prompts(6)]
    with running_engine(path, optimization_level=0) as engine:
        expected = engine.ask_all(prompts, max_tokens=12)
    serve_from_pages(TILE)
    with running_engine(path, num_slots=3, prefill_budget=64, optimization_level=1) as engine:
        assert engine.ask_all(prompts, max_tokens=12) == expected
    assert [len(recording.logits) for recording in recordings] == [3, 2, 1]
    assert sum(recording.num_replays for recording in recordings) > 10


def test_level_0_records_nothing(
    tiny_model: Path, recordings: list[Recording], serve_from_pages: Callable[[int], None]
) -> None:
    serve_from_pages(TILE)
    with running_engine(tiny_model, num_slots=3, optimization_level=0) as engine:
        engine.ask([1, 2, 3], max_tokens=3)
    assert recordings == []
