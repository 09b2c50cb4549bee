"""Measuring a tiny random model: right to the last figure, and damage is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference.engine.errors import EngineError
from inference.engine.kv_cache.slots import SlotPool
from inference.engine.quality.comparison import (
    DECODED_LIMIT,
    PERPLEXITY_LIMIT,
    QualityResult,
    compare,
)
from inference.engine.quality.measurement import measure
from inference.engine.step_plan import StepPlan
from tests.inference.engine.quality.models import (
    load,
    read_model,
    round_weights,
    sample_windows,
)

LENGTHS = [300, 71, 200, 6, 90, 129]


@pytest.fixture(scope="module")
def windows(tiny_model: Path) -> list[list[int]]:
    return sample_windows(tiny_model, LENGTHS)


@pytest.fixture(scope="module")
def reference(tiny_model: Path, windows: list[list[int]]) -> QualityResult:
    return measure(*load(tiny_model, optimization_level=0), windows)


def test_every_position_is_scored_as_transformers_would(
    tiny_model: Path, windows: list[list[int]], reference: QualityResult
) -> None:
    model = read_model(tiny_model)
    prefilled: list[tuple[float, int]] = []
    decoded: list[tuple[float, int]] = []
    for window in windows:
        with torch.inference_mode():
            logprobs = model(torch.tensor([window])).logits[0].log_softmax(-1)
        rows = [
            (float(row[target]), int(row.argmax()))
            for row, target in zip(logprobs, window[1:], strict=False)
        ]
        num_decoded = min(64, len(rows) // 2)
        prefilled += rows[:-num_decoded]
        decoded += rows[-num_decoded:]
    for part, expected in ((reference.prefilled, prefilled), (reference.decoded, decoded)):
        assert part.logprobs == pytest.approx([row[0] for row in expected], abs=1e-4)
        assert part.top_ids == tuple(row[1] for row in expected)
    assert len(reference.scores.logprobs) == sum(LENGTHS) - len(LENGTHS)


def test_two_measurements_of_one_model_are_equal(
    tiny_model: Path, windows: list[list[int]], reference: QualityResult
) -> None:
    fractions: list[float] = []
    again = measure(*load(tiny_model, optimization_level=0), windows, progress=fractions.append)
    assert again == reference
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_a_reference_computed_as_a_prompt_has_the_same_figures(
    tiny_model: Path,
    windows: list[list[int]],
    reference: QualityResult,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backend, served = load(tiny_model, optimization_level=0)
    plans: list[StepPlan] = []
    infer = backend.infer
    monkeypatch.setattr(backend, "infer", lambda plan: plans.append(plan) or infer(plan))
    compared = compare(reference, measure(backend, served, windows, as_prompt=True))
    assert compared.top1_agreement == 1.0
    assert compared.max_difference < 1e-4
    assert not any(plan.decodes for plan in plans)


def test_bfloat16_stays_within_the_limit(
    tiny_model: Path, windows: list[list[int]], reference: QualityResult
) -> None:
    compared = compare(measure(*load(tiny_model, dtype="bfloat16"), windows), reference)
    assert compared.passes
    assert compared.top1_agreement > 0.8
    assert 0 < compared.mean_difference < 0.1


def test_weights_of_few_bits_fail(
    tiny_model: Path, windows: list[list[int]], reference: QualityResult
) -> None:
    backend, served = load(tiny_model, optimization_level=0)
    round_weights(served.loaded.model, bits=3)
    compared = compare(measure(backend, served, windows), reference)
    assert compared.perplexity_ratio > PERPLEXITY_LIMIT
    assert not compared.passes


def test_a_wrong_decode_path_fails_though_it_computes_few_of_the_tokens(
    tiny_model: Path, windows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, served = load(tiny_model, optimization_level=0)
    reference = measure(backend, served, windows, num_decoded=4)
    infer = backend.infer

    def infer_badly(plan: StepPlan) -> torch.Tensor:
        logits = infer(plan)
        return logits * 0.4 if plan.decodes else logits

    monkeypatch.setattr(backend, "infer", infer_badly)
    compared = compare(measure(backend, served, windows, num_decoded=4), reference)
    assert compared.perplexity_ratio < PERPLEXITY_LIMIT
    assert compared.decoded_ratio > DECODED_LIMIT
    assert not compared.passes


def test_places_in_use_are_left_alone_and_those_taken_are_given_back(
    tiny_model: Path, windows: list[list[int]], reference: QualityResult
) -> None:
    backend, served = load(tiny_model, optimization_level=0)
    places = SlotPool(served.capacity.num_slots, served.capacity.slot_len)
    occupied = [places.allocate(10) for _ in range(2)]
    assert measure(backend, served, windows, places=places) == reference
    assert places.num_free == 2
    while places.allocate(10) is not None:
        occupied.append(None)
    assert len(occupied) == 4
    with pytest.raises(EngineError, match="no room for 300 tokens"):
        measure(backend, served, windows, places=places)


def test_places_are_given_back_after_a_fault(
    tiny_model: Path, windows: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, served = load(tiny_model, optimization_level=0)
    places = SlotPool(served.capacity.num_slots, served.capacity.slot_len)

    def break_down(plan: StepPlan) -> torch.Tensor:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(backend, "infer", break_down)
    with pytest.raises(RuntimeError, match="the device is gone"):
        measure(backend, served, windows, places=places)
    assert places.num_free == 4


@pytest.mark.parametrize(
    ("window", "reason"),
    [
        ([1, 2], "2 tokens, outside 3 to 512"),
        ([1] * 513, "513 tokens, outside 3 to 512"),
        ([1, 2, 264], "ids outside 0 to 263"),
        ([1, -1, 2], "ids outside 0 to 263"),
    ],
)
def test_a_window_that_the_model_cannot_read_is_refused(
    window: list[int], reason: str, tiny_model: Path
) -> None:
    backend, served = load(tiny_model)
    with pytest.raises(ValueError, match=reason):
        measure(backend, served, [window])
