"""The slotted cache's contents: copied, and given back to the system."""

from __future__ import annotations

import torch

from inference.engine.kv_cache.base import LayerShape
from inference.engine.kv_cache.slotted import SlottedKVCache
from inference.engine.memory import resident_bytes

MIB = 1024**2


def make_cache(num_slots: int, slot_len: int, dtype: torch.dtype = torch.float32) -> SlottedKVCache:
    shapes = [LayerShape(2, 16, 8), LayerShape(1, 32, 32)]
    return SlottedKVCache(
        shapes, num_slots=num_slots, slot_len=slot_len, dtype=dtype, device=torch.device("cpu")
    )


def test_a_copy_takes_the_beginning_of_every_layer_and_no_more() -> None:
    cache = make_cache(4, 256)
    for tensor in (*cache.keys, *cache.values):
        tensor[1] = torch.randn(tensor[1].shape)
        tensor[2] = 7.0
    cache.copy_prefix(1, 2, 192)
    for tensor in (*cache.keys, *cache.values):
        assert torch.equal(tensor[2, :, :192], tensor[1, :, :192])
        assert (tensor[2, :, 192:] == 7.0).all()
        assert (tensor[3] == 0.0).all()


def test_the_memory_behind_idle_slots_goes_back_to_the_system() -> None:
    cache = make_cache(8, 32_768)
    for tensor in (*cache.keys, *cache.values):
        tensor.fill_(1.0)
    before = resident_bytes()
    released = cache.release([0, 1, 2, 5])
    assert released > 50 * MIB
    assert before - resident_bytes() > released // 2
    for tensor in (*cache.keys, *cache.values):
        assert (tensor[[3, 4, 6, 7]] == 1.0).all()
        assert (tensor[1] == 0.0).all()


def test_slots_smaller_than_a_page_of_memory_stay() -> None:
    cache = make_cache(64, 8, torch.bfloat16)
    for tensor in (*cache.keys, *cache.values):
        tensor.fill_(1.0)
    cache.release([3])
    for tensor in (*cache.keys, *cache.values):
        others = [slot for slot in range(64) if slot != 3]
        assert (tensor[others] == 1.0).all()
