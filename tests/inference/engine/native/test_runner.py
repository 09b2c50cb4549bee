"""A row's logits depend on its own sequence alone, to the last bit."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.native.library import KernelLibrary
from inference.engine.native.runner import NativeRunner
from inference.engine.step_plan import PrefillChunk, StepPlan, Verification
from tests.inference.engine.native.packed_models import (
    PackedModel,
    chunk,
    decode,
    make_sequence,
    on_a_grid,
    pack_model,
    prefill,
    random_ids,
    running,
    verify,
    write_lively_model,
)

# A window, wide norms, a softcap and biases; 8-bit weights, and in the last one 4-bit weights.
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "8 bits": ("gemma2", {}),
    "4 bits": ("qwen2", {"intermediate_size": 160}),
}
LENGTH = 140
NUM_OTHERS = 40


@pytest.fixture(scope="module", params=sorted(MODELS))
def packed(
    request: pytest.FixtureRequest, library: KernelLibrary, tmp_path_factory: Any
) -> PackedModel:
    family, changes = MODELS[request.param]
    path: Path = write_lively_model(tmp_path_factory.mktemp("bits"), family, **changes)
    if request.param == "4 bits":
        on_a_grid(path)
    model = pack_model(library, path)
    bits = {description[0] for description in model.artifact.shape.linears.values()}
    assert bits == {int(request.param[0])}
    return model


@pytest.fixture(scope="module", params=[1, 2, 3])
def runner(
    request: pytest.FixtureRequest, library: KernelLibrary, packed: PackedModel
) -> Iterator[NativeRunner]:
    with running(library, packed.artifact, request.param) as runner:
        yield runner


@pytest.fixture(scope="module")
def alone(library: KernelLibrary, packed: PackedModel) -> torch.Tensor:
    """The logits of all rows of one prompt [LENGTH, vocab], computed in one piece by one thread."""
    with running(library, packed.artifact) as runner:
        return prefill(runner, random_ids(LENGTH, seed=0), 0)


@pytest.fixture
def token_ids() -> list[int]:
    return random_ids(LENGTH, seed=0)


def test_whole_prompts_do_not_depend_on_threads(
    runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    assert torch.equal(prefill(runner, token_ids, 1), alone)


@pytest.mark.parametrize(
    "cuts", [[1], [64], [139], [63, 65], [7, 20, 64, 100], list(range(9, LENGTH, 9))], ids=str
)
def test_a_prompt_may_be_cut_anywhere(
    cuts: list[int], runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    assert torch.equal(prefill(runner, token_ids, 2, cuts), alone)


def test_decoded_rows_are_those_of_a_prompt(
    runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    assert torch.equal(decode(runner, token_ids, 3, start=0), alone)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 40])
def test_verified_rows_are_those_of_a_prompt(
    count: int, runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    start = LENGTH - count
    prefill(runner, token_ids[:start], 4)
    assert torch.equal(verify(runner, token_ids, 4, start), alone[start:])


def test_rows_after_a_refused_guess_are_as_if_it_had_not_been(
    runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    prefill(runner, token_ids[:60], 5)
    verify(runner, token_ids[:60] + random_ids(9, seed=99), 5, 59)
    assert torch.equal(verify(runner, token_ids, 5, 60), alone[60:])


@pytest.mark.parametrize("count", [1, 2, 5, 7, 8, 16, NUM_OTHERS])
def test_decoding_beside_others_changes_nothing(
    count: int, runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    own = fill(runner, token_ids, 0)
    others = [fill(runner, random_ids(3 * i + 2, seed=i + 1), i + 1) for i in range(count)]
    order = [own, *others]
    random.Random(count).shuffle(order)  # noqa: S311
    logits = runner.run(StepPlan(decodes=tuple(order)))
    assert torch.equal(logits[order.index(own)], alone[-1])


def test_a_step_of_everything_gives_each_row_what_it_gets_alone(
    runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    decoding = fill(runner, token_ids, 0)
    prefill(runner, token_ids[:100], 1)
    verifying = Verification(
        make_sequence(token_ids[:101], 1, num_computed=100), 100, tuple(token_ids[101:106])
    )
    prefill(runner, token_ids[:64], 2)
    late = make_sequence(token_ids, 2)
    fresh = make_sequence(token_ids[:77], 3)
    logits = runner.run(
        StepPlan(
            decodes=(decoding,),
            verifications=(verifying,),
            chunks=(chunk(late, 64, LENGTH), chunk(fresh, 0, 77)),
        )
    )
    assert torch.equal(logits, torch.cat([alone[-1:], alone[100:106], alone[64:], alone[:77]]))


def test_the_row_that_starts_an_answer_is_the_same_in_any_company(
    runner: NativeRunner,
    token_ids: list[int],
    alone: torch.Tensor,
    library: KernelLibrary,
    packed: PackedModel,
) -> None:
    with running(library, packed.artifact) as single:
        expected = start_answer(single, token_ids, 0).clone()
    # Twice the bits in its activations: another row than the one that only fills the cache.
    assert not torch.equal(expected[0], alone[-1])
    assert torch.equal(start_answer(runner, token_ids, 6), expected)
    for border in (1, 64, 139):
        prefill(runner, token_ids[:border], 7)
        assert torch.equal(start_answer(runner, token_ids, 7, border), expected)
    others = [fill(runner, random_ids(20 + i, seed=i), 10 + i) for i in range(NUM_OTHERS - 10)]
    last = PrefillChunk(make_sequence(token_ids, 8), 0, LENGTH, is_last=True)
    another = PrefillChunk(make_sequence(token_ids, 9), 0, LENGTH, is_last=True)
    logits = runner.run(StepPlan(decodes=tuple(others), chunks=(last, another)))
    assert torch.equal(logits[-2:], torch.cat([expected, expected]))


def test_the_row_that_starts_an_answer_leaves_the_cache_as_it_was(
    runner: NativeRunner, token_ids: list[int], alone: torch.Tensor
) -> None:
    start_answer(runner, token_ids[:100], 9)
    assert torch.equal(verify(runner, token_ids, 9, 100), alone[100:])


def fill(runner: NativeRunner, token_ids: list[int], slot: int) -> Any:
    """A sequence whose last token is the next to be decoded."""
    border = len(token_ids) - 1
    prefill(runner, token_ids[:border], slot)
    return make_sequence(token_ids, slot, num_prompt=border, num_computed=border)


def start_answer(
    runner: NativeRunner, token_ids: list[int], slot: int, start: int = 0
) -> torch.Tensor:
    """The logits [1, vocab] from which an answer's first token is chosen."""
    sequence = make_sequence(token_ids, slot)
    last = PrefillChunk(sequence, start, len(token_ids), is_last=True)
    return runner.run(StepPlan(chunks=(last,))).clone()
