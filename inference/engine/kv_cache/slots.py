"""Accounting of the slotted cache: every sequence owns one slot as long as the whole context."""

from __future__ import annotations

import heapq

from inference.engine.kv_cache.base import CacheAccounting


class SlotPool(CacheAccounting):
    """Hands out the lowest free slot, so that the slots in use stay dense.

    Dense slots let a decode step read the cache as one view without copying.
    """

    def __init__(self, num_slots: int, slot_len: int) -> None:
        self._num_slots = num_slots
        self._slot_len = slot_len
        self._free = list(range(num_slots))
        self._taken: set[int] = set()

    @property
    def num_free(self) -> int:
        return len(self._free)

    @property
    def num_slots(self) -> int:
        return self._num_slots

    def can_allocate(self, num_tokens: int) -> bool:
        return bool(self._free) and num_tokens <= self._slot_len

    def allocate(self, num_tokens: int) -> int:
        if not self.can_allocate(num_tokens):
            raise RuntimeError(f"no slot for {num_tokens} tokens")
        slot = heapq.heappop(self._free)
        self._taken.add(slot)
        return slot

    def free(self, slot: int) -> None:
        if slot not in self._taken:
            raise RuntimeError(f"slot {slot} is not taken")
        self._taken.remove(slot)
        heapq.heappush(self._free, slot)
