"""Keys and values in one long slot per sequence: no block tables, and decode reads them in place."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import torch

from inference.engine.kv_cache.base import KVCache, LayerShape


class SlottedKVCache(KVCache):
    """Per layer `keys[i]` of shape [slots, kv heads, slot_len, key dim], and `values[i]` alike."""

    def __init__(
        self,
        layers: Sequence[LayerShape],
        *,
        num_slots: int,
        slot_len: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        """Raises MemoryError, OSError or torch.OutOfMemoryError where the space is not there."""
        self.slot_len = slot_len
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self._mappings: list[mmap.mmap] = []
        for layer in layers:
            shape = (num_slots, layer.num_kv_heads, slot_len)
            self.keys.append(self._zeros((*shape, layer.key_dim), dtype, device))
            self.values.append(self._zeros((*shape, layer.value_dim), dtype, device))

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def write(
        self,
        layer: int,
        slots: torch.Tensor,  # [T] int64
        positions: torch.Tensor,  # [T] int64
        key: torch.Tensor,  # [T, kv heads, key dim]
        value: torch.Tensor,  # [T, kv heads, value dim]
    ) -> None:
        """Store one token per row at its slot and position."""
        self.keys[layer][slots, :, positions] = key
        self.values[layer][slots, :, positions] = value

    def scrub(self, slot: int, num_tokens: int) -> None:
        for tensor in (*self.keys, *self.values):
            tensor[slot, :, :num_tokens].zero_()

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :num_tokens] = tensor[source, :, :num_tokens]

    def release(self, slots: Sequence[int]) -> int:
        num_released = 0
        tensors = (*self.keys, *self.values)
        # Without mappings the memory is a device's, and belongs to the cache for good.
        for pages, tensor in zip(self._mappings, tensors if self._mappings else (), strict=True):
            size = tensor[0].nbytes
            for slot in slots:
                start = -(-slot * size // mmap.PAGESIZE) * mmap.PAGESIZE
                length = (slot + 1) * size // mmap.PAGESIZE * mmap.PAGESIZE - start
                if length > 0:
                    pages.madvise(mmap.MADV_DONTNEED, start, length)
                    num_released += length
        return num_released

    def _zeros(
        self, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
    ) -> torch.Tensor:
        """A zeroed tensor; on the CPU its pages take memory only once they are written.

        Zeros and not garbage: a masked position weighs nothing, but nothing times NaN is NaN.
        """
        if device.type != "cpu":
            return torch.zeros(shape, dtype=dtype, device=device)
        num_elements = 1
        for size in shape:
            num_elements *= size
        pages = mmap.mmap(-1, num_elements * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
        # A token fills a few hundred bytes of each head's stretch; huge pages would commit 2 MB there.
        if hasattr(mmap, "MADV_NOHUGEPAGE"):
            pages.madvise(mmap.MADV_NOHUGEPAGE)
        self._mappings.append(pages)
        return torch.frombuffer(pages, dtype=dtype).view(shape)
