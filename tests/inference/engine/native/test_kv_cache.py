"""Slots of the kernels' cache: cleaned, copied, given back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from inference.engine.native.kv_cache import NativeKVCache
from inference.engine.native.library import KernelLibrary
from inference.engine.native.runner import NativeRunner
from inference.engine.tiling import read_length
from tests.inference.engine.native.packed_models import (
    MAX_LENGTH,
    NUM_SLOTS,
    PackedModel,
    pack_model,
    prefill,
    random_ids,
    running,
    verify,
)

LENGTH = 150


@pytest.fixture(scope="module")
def packed(library: KernelLibrary, tiny_model: Path) -> PackedModel:
    return pack_model(library, tiny_model)


@pytest.fixture
def runner(library: KernelLibrary, packed: PackedModel) -> Iterator[NativeRunner]:
    with running(library, packed.artifact) as runner:
        yield runner


@pytest.fixture
def blocks(runner: NativeRunner) -> torch.Tensor:
    assert isinstance(runner.cache, NativeKVCache)
    return runner.cache.blocks


def test_a_token_takes_two_bytes_a_number_and_three_scales_a_head(
    runner: NativeRunner, packed: PackedModel
) -> None:
    shape = packed.artifact.shape
    assert shape.kv_bytes_per_token() == 3 * 2 * (2 * 2 * 16 + 3 * 4)
    num_tokens = NUM_SLOTS * read_length(MAX_LENGTH)
    assert runner.cache.num_bytes == num_tokens * shape.kv_bytes_per_token()


def test_slots_hold_whole_blocks_alone(packed: PackedModel) -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        NativeKVCache(packed.artifact.shape, num_slots=1, slot_len=100)


def test_a_sequence_writes_into_its_slot_alone(runner: NativeRunner, blocks: torch.Tensor) -> None:
    prefill(runner, random_ids(LENGTH, seed=0), 3)
    assert blocks[3, :3].any()
    assert not blocks[3, 3:].any()
    assert not blocks[:3].any()
    assert not blocks[4:].any()


def test_scrubbing_leaves_zeros_and_the_neighbours(
    runner: NativeRunner, blocks: torch.Tensor
) -> None:
    for slot in (1, 2, 3):
        prefill(runner, random_ids(LENGTH, seed=slot), slot)
    before = blocks.clone()
    blocks[2, 0, 0, 0, :5] = 255
    runner.cache.scrub(2, LENGTH)
    assert not blocks[2].any()
    assert torch.equal(blocks[1], before[1])
    assert torch.equal(blocks[3], before[3])


@pytest.mark.parametrize("length", [64, 128, 100])
def test_a_copied_prefix_is_as_good_as_a_computed_one(length: int, runner: NativeRunner) -> None:
    token_ids = random_ids(LENGTH, seed=0)
    expected = prefill(runner, token_ids, 0)
    prefill(runner, random_ids(LENGTH, seed=1), 1)
    runner.cache.copy_prefix(0, 1, length)
    assert torch.equal(verify(runner, token_ids, 1, length), expected[length:])


def test_what_is_given_back_reads_as_zeros_and_serves_again(
    runner: NativeRunner, blocks: torch.Tensor
) -> None:
    token_ids = random_ids(LENGTH, seed=0)
    expected = prefill(runner, token_ids, 5)
    prefill(runner, token_ids, 6)
    neighbour = blocks[6].clone()
    assert 0 < runner.cache.release([5]) <= blocks[5].nbytes
    # Whole pages: an end of the slot may share one with its neighbour.
    assert blocks[5].count_nonzero() < 4096
    assert torch.equal(blocks[6], neighbour)
    assert torch.equal(prefill(runner, token_ids, 5), expected)
