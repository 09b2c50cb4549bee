"""Keys and values in pages of equal size, which sequences hold by number."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from inference.engine.kv_cache.base import KVCache, LayerShape
from inference.engine.kv_cache.pages import PagedAccounting


class PagedKVCache(KVCache):
    """Per layer `keys[i]` of shape [pages, page, kv heads, key dim], and `values[i]` alike.

    A token's *place* is `page number * page + offset`. Page 0 is nobody's: padded rows write there.
    """

    def __init__(
        self,
        layers: Sequence[LayerShape],
        accounting: PagedAccounting,
        *,
        dtype: torch.dtype,
        devices: Sequence[torch.device],
    ) -> None:
        """`devices` names one device per layer. Raises MemoryError or torch.OutOfMemoryError."""
        self._accounting = accounting
        self.page = accounting.page
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        for layer, device in zip(layers, devices, strict=True):
            shape = (accounting.pool.num_pages + 1, self.page, layer.num_kv_heads)
            # Zeros and not garbage: a masked position weighs nothing, but nothing times NaN is NaN.
            self.keys.append(torch.zeros((*shape, layer.key_dim), dtype=dtype, device=device))
            self.values.append(torch.zeros((*shape, layer.value_dim), dtype=dtype, device=device))

    @property
    def num_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in (*self.keys, *self.values))

    def write(
        self,
        layer: int,
        places: torch.Tensor,  # [T] int64
        key: torch.Tensor,  # [T, kv heads, key dim]
        value: torch.Tensor,  # [T, kv heads, value dim]
    ) -> None:
        """Store one token per row at its place."""
        self.keys[layer].flatten(0, 1).index_copy_(0, places, key)
        self.values[layer].flatten(0, 1).index_copy_(0, places, value)

    def scrub(self, slot: int, num_tokens: int) -> None:
        self.zero_pages(self._accounting.private_pages(slot, num_tokens))

    def zero_pages(self, pages: Sequence[int]) -> None:
        """Overwrite whole pages with zeros."""
        for tensor in (*self.keys, *self.values):
            for page in pages:
                tensor[page].zero_()
