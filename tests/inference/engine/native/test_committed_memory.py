"""Memory of the kernels' cache that is taken before a prompt waits for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference.engine.kv_cache.host_memory import commit_pages, release_pages, reserve_zeros
from inference.engine.native.kv_cache import NativeKVCache
from inference.engine.native.library import KernelLibrary
from inference.engine.native.runner import NativeRunner
from tests.inference.engine.harness import running_engine
from tests.inference.engine.native.packed_models import pack_model

MB = 2**20
KB = 2**10


def resident(tensor: torch.Tensor) -> int:
    """Bytes of memory behind the mapping that holds `tensor`."""
    address = tensor.data_ptr()
    is_it = False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        first, _, last = line.split()[0].partition("-")
        if last:
            is_it = int(first, 16) <= address < int(last, 16)
        elif is_it and line.startswith("Rss:"):
            return int(line.split()[1]) * KB
    raise AssertionError("the tensor lies in no mapping")


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("huge", [False, True])
def test_the_first_bytes_of_each_row_take_memory_at_once(huge: bool, num_threads: int) -> None:
    rows = reserve_zeros((8, 8 * MB), torch.uint8, huge=huge)
    before = resident(rows)
    assert commit_pages(rows, 2 * MB, num_threads) == 16 * MB
    # Large pages may reach beyond what was asked for.
    assert 16 * MB <= resident(rows) - before <= 32 * MB
    assert not rows.any()


def test_what_is_written_already_stays() -> None:
    rows = reserve_zeros((3, 1001), torch.int16)
    rows[1, 7] = 9
    commit_pages(rows, 10**9, 1)
    assert rows.count_nonzero() == 1
    assert rows[1, 7] == 9


def test_nothing_is_taken_where_nothing_is_asked_for() -> None:
    rows = reserve_zeros((4, MB), torch.uint8)
    before = resident(rows)
    assert commit_pages(rows, 0, 2) == 0
    assert resident(rows) == before


def test_it_is_given_back_like_any_other() -> None:
    rows = reserve_zeros((4, MB), torch.uint8)
    commit_pages(rows, MB, 1)
    assert release_pages([rows], [0, 1, 2, 3]) == 4 * MB
    assert resident(rows) < MB


def test_a_cache_commits_a_quarter_and_no_more_than_half_a_gigabyte(
    library: KernelLibrary, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = pack_model(library, tiny_model).artifact.shape
    cache = NativeKVCache(shape, num_slots=4, slot_len=4096)
    assert cache.commit(1) == cache.num_bytes // 4
    monkeypatch.setattr("inference.engine.native.kv_cache._MOST_COMMITTED", 4 * 5000)
    assert NativeKVCache(shape, num_slots=4, slot_len=4096).commit(1) == 4 * 5000


def test_a_loaded_model_has_its_first_tokens_memory(
    quick_model: Path, prepared_cache: Path
) -> None:
    settings = {"optimization_level": 3, "cache_dir": str(prepared_cache), "num_slots": 16}
    with running_engine(quick_model, **settings) as engine:
        runner = engine.running.backend._runner
        assert isinstance(runner, NativeRunner)
        cache = runner.cache
        assert isinstance(cache, NativeKVCache)
        assert resident(cache.blocks) >= cache.num_bytes // 4
