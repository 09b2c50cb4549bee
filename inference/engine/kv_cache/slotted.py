"""Keys and values in one long slot per sequence: no block tables, and decode reads them in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from inference.engine.kv_cache.base import KVCache, LayerShape
from inference.engine.kv_cache.host_memory import release_pages, reserve_zeros


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
        self.dtype = dtype
        self._is_on_host = device.type == "cpu"
        for layer in layers:
            shape = (num_slots, layer.num_kv_heads, slot_len)
            for tensors, width in ((self.keys, layer.key_dim), (self.values, layer.value_dim)):
                full = (*shape, width)
                tensors.append(
                    reserve_zeros(full, dtype)
                    if self._is_on_host
                    else torch.zeros(full, dtype=dtype, device=device)
                )

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
        self.keys[layer][slots, :, positions] = key.to(self.dtype)
        self.values[layer][slots, :, positions] = value.to(self.dtype)

    def scrub(self, slot: int, num_tokens: int) -> None:
        for tensor in (*self.keys, *self.values):
            tensor[slot, :, :num_tokens].zero_()

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        for tensor in (*self.keys, *self.values):
            tensor[target, :, :num_tokens] = tensor[source, :, :num_tokens]

    def release(self, slots: Sequence[int]) -> int:
        # Elsewhere than on the CPU the memory is the device's, and belongs to the cache for good.
        return release_pages((*self.keys, *self.values), slots) if self._is_on_host else 0
