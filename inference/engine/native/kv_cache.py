"""Keys and values in 16-bit integers, laid out for the kernels (`source/kv_cache.h`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from inference.engine.kv_cache.base import KVCache
from inference.engine.kv_cache.host_memory import commit_pages, release_pages, reserve_zeros
from inference.engine.native.shape import NativeShape
from inference.engine.tiling import TILE

_MOST_COMMITTED = 512 * 2**20


class NativeKVCache(KVCache):
    """`blocks` [slots, blocks, layers, kv heads, bytes of a head's 64 tokens], uint8."""

    def __init__(self, shape: NativeShape, *, num_slots: int, slot_len: int) -> None:
        """`slot_len` is a multiple of TILE. Raises MemoryError or OSError without the space."""
        if slot_len % TILE:
            raise ValueError(f"slot_len {slot_len} is no multiple of {TILE}")
        self.slot_len = slot_len
        self.blocks = reserve_zeros(
            (
                num_slots,
                slot_len // TILE,
                shape.num_layers,
                shape.num_kv_heads,
                TILE * shape.kv_bytes_per_head(),
            ),
            torch.uint8,
            huge=True,
        )

    def commit(self, num_threads: int) -> int:
        """Take memory for the first tokens of all slots, a quarter of each at most; the bytes.

        Otherwise the prompts that first come into a slot wait for it. In a virtual machine whose host
        gives memory when it is touched, a prompt of 512 tokens took 205 ms instead of 173.
        """
        quarter = self.blocks[0].nbytes // 4
        return commit_pages(
            self.blocks, min(quarter, _MOST_COMMITTED // len(self.blocks)), num_threads
        )

    @property
    def num_bytes(self) -> int:
        return self.blocks.nbytes

    def scrub(self, slot: int, num_tokens: int) -> None:
        self.blocks[slot, : -(-num_tokens // TILE)].zero_()

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        count = -(-num_tokens // TILE)
        self.blocks[target, :count] = self.blocks[source, :count]

    def release(self, slots: Sequence[int]) -> int:
        return release_pages([self.blocks], slots)
