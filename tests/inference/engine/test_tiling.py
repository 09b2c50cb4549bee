"""Rounded sizes, and what they are for: numbers that no neighbour changes, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference.engine.backends.base import BaseBackend
from inference.engine.backends.cpu import CpuBackend
from inference.engine.config import EngineConfig
from inference.engine.detokenizer import TextAssembler
from inference.engine.sequence import Sequence
from inference.engine.step_plan import PrefillChunk, StepPlan, Verification
from inference.engine.tiling import TILE, pad_group, pad_rows, read_length
from inference.protocol import SamplingParams

# Around the borders of tiles, of padded rows and of the kernels' blocks.
LENGTHS = [1, 2, 7, 9, 11, 63, 64, 65, 73, 127, 130, 137, 193, 200, 255, 257, 320, 333, 383, 400]
NUM_DECODES = 4


@pytest.mark.parametrize(
    ("num_tokens", "length"),
    [(1, 64), (64, 64), (65, 128), (192, 192), (193, 384), (320, 384), (385, 448), (700, 704),
     (705, 896), (800, 896), (1024, 1024)],
)  # fmt: skip
def test_lengths_are_whole_tiles_without_the_halved_sums(num_tokens: int, length: int) -> None:
    assert read_length(num_tokens) == length


def test_every_length_is_covered_by_few_tiles_more() -> None:
    for num_tokens in range(1, 3000):
        length = read_length(num_tokens)
        assert length % TILE == 0
        assert num_tokens <= length < num_tokens + 3 * TILE
        assert read_length(length) == length


def test_rows_and_groups_are_rounded_up() -> None:
    assert [pad_rows(n) for n in (1, 8, 9)] == [8, 8, 16]
    assert [pad_group(n) for n in (1, 3, 4, 7)] == [4, 4, 4, 8]


def make_sequence(num_prompt: int, slot: int) -> Sequence:
    sequence = Sequence(
        request_id=str(slot),
        prompt_ids=[(num_prompt + 13 * index * index) % 256 for index in range(num_prompt)],
        params=SamplingParams(),
        text=TextAssembler(lambda ids: ""),
        now=0.0,
        timeout=1.0,
    )
    sequence.slot = slot
    return sequence


def step(backend: BaseBackend, plan: StepPlan, logits: dict[int, list[torch.Tensor]]) -> None:
    """One step with greedy tokens; each sampled row's logits are appended to its slot's list."""
    rows = backend.infer(plan)
    for sequence in plan.decodes:
        sequence.num_computed += 1
    for chunk in plan.chunks:
        chunk.sequence.num_computed = chunk.end
    for sequence, row in zip(plan.sampled, rows, strict=True):
        logits.setdefault(sequence.slot or 0, []).append(row.clone())
        sequence.output_ids.append(int(row.argmax()))


def run_alone(backend: BaseBackend, num_prompt: int) -> list[torch.Tensor]:
    sequence = make_sequence(num_prompt, 0)
    logits: dict[int, list[torch.Tensor]] = {}
    step(backend, StepPlan(chunks=(PrefillChunk(sequence, 0, num_prompt, True),)), logits)
    for _ in range(NUM_DECODES):
        step(backend, StepPlan(decodes=(sequence,)), logits)
    return logits[0]


def run_together(backend: BaseBackend) -> dict[int, list[torch.Tensor]]:
    """All prompts one after the other, a tile a step, while the earlier ones decode."""
    sequences = [make_sequence(length, slot) for slot, length in enumerate(LENGTHS)]
    logits: dict[int, list[torch.Tensor]] = {}

    def unfinished() -> tuple[Sequence, ...]:
        return tuple(s for s in sequences if 0 < len(s.output_ids) <= NUM_DECODES)

    for sequence, length in zip(sequences, LENGTHS, strict=True):
        for start in range(0, length, TILE):
            end = min(length, start + TILE)
            chunk = PrefillChunk(sequence, start, end, end == length)
            step(backend, StepPlan(decodes=unfinished(), chunks=(chunk,)), logits)
    while decodes := unfinished():
        step(backend, StepPlan(decodes=decodes), logits)
    return logits


def test_logits_are_bit_equal_in_any_company(tiny_model: Path) -> None:
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.xfail("sizes were measured on AVX-512; elsewhere texts are equal, bits may not be")
    backend = CpuBackend()
    backend.initialize()
    backend.load_model(str(tiny_model), EngineConfig(num_threads=1))
    together = run_together(backend)
    differing = [
        length
        for slot, length in enumerate(LENGTHS)
        if not all(map(torch.equal, together[slot], run_alone(backend, length)))
    ]
    assert differing == []


@pytest.mark.parametrize("num_prompt", [5, 60, 190, 380])
def test_rows_decoded_at_once_are_bit_equal_to_rows_decoded_one_by_one(
    tiny_model: Path, num_prompt: int
) -> None:
    if torch.backends.cpu.get_cpu_capability() != "AVX512":
        pytest.xfail("sizes were measured on AVX-512; elsewhere texts are equal, bits may not be")
    backend = CpuBackend()
    backend.initialize()
    backend.load_model(str(tiny_model), EngineConfig(num_threads=1))
    alone = make_sequence(num_prompt, 0)
    logits: dict[int, list[torch.Tensor]] = {}
    step(backend, StepPlan(chunks=(PrefillChunk(alone, 0, num_prompt, True),)), logits)
    for _ in range(11):
        step(backend, StepPlan(decodes=(alone,)), logits)
    drafted = make_sequence(num_prompt, 3)
    drafted.prompt_ids = alone.prompt_ids
    step(backend, StepPlan(chunks=(PrefillChunk(drafted, 0, num_prompt, True),)), {})
    rows = []
    for start, count in ((0, 3), (3, 1), (4, 7)):
        drafts = tuple(alone.output_ids[start + 1 : start + count])
        drafted.output_ids = alone.output_ids[: start + 1]
        neighbour = make_sequence(50, 5)
        chunk = PrefillChunk(neighbour, 0, 50, True)
        run = Verification(drafted, num_prompt + start, drafts)
        plan = StepPlan(verifications=(run,), chunks=(chunk,))
        rows += list(backend.infer(plan)[:count].clone())
    assert all(map(torch.equal, rows, logits[0][1:]))
