"""What the rest of the engine may ask of a KV cache: places (no torch) and contents (tensors).

Accounting and tensors are apart so that scheduling can be tested with no device, and so that a paged
cache can replace the slotted one behind both interfaces.

Contents have names, so that they can be reused: a key stands for a block of TILE tokens, all tokens
before it, the tenant they belong to and how they were computed (`inference.engine.prefix_keys`).
Equal keys mean equal contents; a key found in the cache means that all blocks before it are there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Keys and values of one attention layer: heads and numbers per head."""

    num_kv_heads: int
    key_dim: int
    value_dim: int

    def bytes_per_token(self, dtype_bytes: int) -> int:
        return self.num_kv_heads * (self.key_dim + self.value_dim) * dtype_bytes


@dataclass(frozen=True, slots=True)
class Place:
    """What a sequence gets. `room` counts the tokens that fit before `grow` must be asked.

    The first `num_cached` tokens (a multiple of TILE) need not be computed: they are there, or,
    where `copy_from` names a slot, `KVCache.copy_prefix` puts them there before the next step.
    """

    slot: int
    room: int
    num_cached: int = 0
    copy_from: int | None = None


class CacheAccounting(ABC):
    """Which sequence holds which place of the cache, and what the places hold.

    A slot is a small number, 0 to `num_slots` - 1, that names a running sequence's place; what
    stands behind it (a stretch of the cache, a list of pages) is the implementation's. One thread
    calls it.
    """

    @property
    @abstractmethod
    def num_free(self) -> int:
        """Sequences that could be admitted now, as far as slots go."""

    @property
    @abstractmethod
    def num_slots(self) -> int:
        """Sequences that run at once at most."""

    @property
    @abstractmethod
    def num_token_places(self) -> int:
        """Tokens that the whole cache holds."""

    @abstractmethod
    def allocate(self, num_tokens: int, keys: Sequence[bytes] = ()) -> Place | None:
        """Take a place with room for `num_tokens` at once; None where there is none now.

        `keys` name the leading blocks of the sequence, of which as many as the cache holds are
        reused; the caller leaves out the block of the last token, which is always computed. Contents
        that nobody uses are given up where room is needed. A paged cache keeps a few pages back, so
        that those who run can grow after it.
        """

    @abstractmethod
    def match(self, keys: Sequence[bytes]) -> int:
        """How many leading tokens `allocate` would find now. Changes nothing."""

    @abstractmethod
    def grow(self, slot: int, num_tokens: int) -> int:
        """Make room for `num_tokens` in total; the room there is now.

        Less than `num_tokens`: nothing was changed, and someone must give up his place first.
        """

    @abstractmethod
    def publish(self, slot: int, keys: Sequence[bytes]) -> None:
        """Say that the leading blocks of `slot` are computed: all so far, named by `keys`."""

    @abstractmethod
    def free(self, slot: int) -> None:
        """Give a place back; its published blocks can be reused until the room is needed.

        Raises RuntimeError for one that is not taken.
        """

    @abstractmethod
    def forget(self, slot: int) -> None:
        """Never reuse what `slot` (taken or free) holds: its contents went wrong."""

    @abstractmethod
    def forget_all(self) -> None:
        """Never reuse anything computed so far: memory is short, or the cache was replaced."""

    @abstractmethod
    def idle_slots(self) -> list[int]:
        """Slots that nobody holds and whose contents nobody can reuse."""


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
        wrong must not be handed on as it is. Where several sequences share a page, it stays: it was
        published, so it was sound.
        """

    def copy_prefix(self, source: int, target: int, num_tokens: int) -> None:
        """Copy the first `num_tokens` of slot `source` to `target`, in every layer.

        Only for caches whose accounting returns `Place.copy_from`; others raise RuntimeError.
        """
        raise RuntimeError(f"{type(self).__name__} shares its places; there is nothing to copy")

    def release(self, slots: Sequence[int]) -> int:
        """Give the memory behind idle slots back to the system; the bytes, 0 where none can be.

        What the slots held is lost.
        """
        return 0
