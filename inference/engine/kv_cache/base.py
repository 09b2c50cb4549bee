"""What the rest of the engine may ask of a KV cache: places (no torch) and contents (tensors).

Accounting and tensors are apart so that scheduling can be tested with no device, and so that a paged
cache can replace the slotted one behind both interfaces.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Keys and values of one attention layer: heads and numbers per head."""

    num_kv_heads: int
    key_dim: int
    value_dim: int

    def bytes_per_token(self, dtype_bytes: int) -> int:
        return self.num_kv_heads * (self.key_dim + self.value_dim) * dtype_bytes


class CacheAccounting(ABC):
    """Which sequence holds which place of the cache."""

    @property
    @abstractmethod
    def num_free(self) -> int:
        """Sequences that could be admitted now."""

    @property
    @abstractmethod
    def num_slots(self) -> int:
        """Sequences that fit at once."""

    @abstractmethod
    def can_allocate(self, num_tokens: int) -> bool:
        """Whether a sequence that grows to `num_tokens` can get a place now."""

    @abstractmethod
    def allocate(self, num_tokens: int) -> int:
        """Take a place for up to `num_tokens`. Raises RuntimeError where `can_allocate` is False."""

    @abstractmethod
    def free(self, slot: int) -> None:
        """Give a place back. Raises RuntimeError for one that is not taken."""


class KVCache(ABC):
    """The stored keys and values. Not thread-safe: the loop's thread owns it."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes reserved (on the CPU: address space, memory only where written)."""

    @abstractmethod
    def scrub(self, slot: int, num_tokens: int) -> None:
        """Overwrite the first `num_tokens` of a slot with zeros.

        Masked positions weigh nothing, but nothing times NaN is NaN: a place whose sequence went
        wrong must not be handed on as it is.
        """
