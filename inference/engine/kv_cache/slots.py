"""Accounting of the slotted cache: every sequence owns one slot as long as the whole context.

A slot that was given back keeps its contents until someone needs it: a sequence that begins alike
takes it over, or copies the beginning where the slot is in use or worth more as it is.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Sequence

from inference.engine.kv_cache.base import CacheAccounting, Place
from inference.engine.tiling import TILE

# A decode step reads the slots between the lowest and the highest in place, as long as that is at most
# this many per sequence (`inference.engine.step_batch`): slots are chosen so that it stays so.
SPAN_PER_DECODE = 2
# Slots with the same beginning that are compared before one is chosen.
_MAX_DONORS = 64


class SlotPool(CacheAccounting):
    """Slots by number. Without a match: one near those in use, empty ones first, then the one
    given back longest ago.
    """

    def __init__(self, num_slots: int, slot_len: int) -> None:
        self._num_slots = num_slots
        self._slot_len = slot_len
        self._is_taken = [False] * num_slots
        self._num_taken = 0
        # When a slot was given back, as a count; 0 for one that holds nothing of use.
        self._released = [0] * num_slots
        self._releases = itertools.count(1)
        self._by_age = [(0, slot) for slot in range(num_slots)]
        self._names: list[list[bytes]] = [[] for _ in range(num_slots)]
        self._holders: dict[bytes, set[int]] = {}

    @property
    def num_free(self) -> int:
        return self._num_slots - self._num_taken

    @property
    def num_slots(self) -> int:
        return self._num_slots

    @property
    def num_token_places(self) -> int:
        return self._num_slots * self._slot_len

    def allocate(self, num_tokens: int, keys: Sequence[bytes] = ()) -> Place | None:
        if not self.num_free or num_tokens > self._slot_len:
            return None
        num_blocks = self._num_known(keys)
        donor = self._choose_donor(keys[num_blocks - 1], num_blocks) if num_blocks else None
        if donor is not None and self._should_take_over(donor, num_blocks):
            return self._take(donor, num_blocks, None)
        slot = self._choose_slot()
        if donor is None or slot == donor:
            return self._take(slot, num_blocks, None)
        return self._take(slot, num_blocks, donor)

    def match(self, keys: Sequence[bytes]) -> int:
        return self._num_known(keys) * TILE

    def grow(self, slot: int, num_tokens: int) -> int:
        return self._slot_len

    def publish(self, slot: int, keys: Sequence[bytes]) -> None:
        names = self._names[slot]
        for name in itertools.islice(keys, len(names), None):
            self._holders.setdefault(name, set()).add(slot)
            names.append(name)

    def free(self, slot: int) -> None:
        if not self._is_taken[slot]:
            raise RuntimeError(f"slot {slot} is not taken")
        self._is_taken[slot] = False
        self._num_taken -= 1
        self._file(slot)

    def forget(self, slot: int) -> None:
        self._cut(slot, 0)
        if not self._is_taken[slot]:
            self._file(slot)

    def forget_all(self) -> None:
        self._holders.clear()
        for names in self._names:
            names.clear()
        self._by_age = []
        for slot in range(self._num_slots):
            if not self._is_taken[slot]:
                self._file(slot)

    def idle_slots(self) -> list[int]:
        return [
            slot
            for slot in range(self._num_slots)
            if not self._is_taken[slot] and not self._names[slot]
        ]

    def _num_known(self, keys: Sequence[bytes]) -> int:
        """Blocks that some slot holds; a slot that holds a block holds those before it."""
        for index, name in enumerate(keys):
            if name not in self._holders:
                return index
        return len(keys)

    def _choose_donor(self, name: bytes, num_blocks: int) -> int:
        """The free slot that loses least by being taken over, else one in use."""
        donors = itertools.islice(self._holders[name], _MAX_DONORS)
        return min(donors, key=lambda slot: (self._is_taken[slot], len(self._names[slot]), slot))

    def _should_take_over(self, slot: int, num_blocks: int) -> bool:
        """Whether a sequence moves into a slot rather than copying its beginning.

        A slot that holds far more than the common beginning is somebody's conversation; one far off
        would make every decode step copy, which costs more than copying once.
        """
        if self._is_taken[slot]:
            return False
        if self.num_free == 1:
            return True
        window = self._dense_window()
        is_near = window is None or slot in window
        return is_near and len(self._names[slot]) <= 2 * num_blocks

    def _choose_slot(self) -> int:
        window = self._dense_window()
        if window is not None:
            near = [slot for slot in window if not self._is_taken[slot]]
            if near:
                return min(near, key=lambda slot: (self._released[slot], slot))
        # Entries of slots that were taken or filed anew meanwhile are out of date.
        while True:
            released, slot = self._by_age[0]
            if not self._is_taken[slot] and self._released[slot] == released:
                return slot
            heapq.heappop(self._by_age)

    def _dense_window(self) -> range | None:
        """Slots whose use leaves those in use dense, or no sparser; None where nothing is in use."""
        if not self._num_taken:
            return None
        low = self._is_taken.index(True)
        high = self._num_slots - 1 - self._is_taken[::-1].index(True)
        span = SPAN_PER_DECODE * (self._num_taken + 1)
        return range(
            max(0, min(low, high + 1 - span)), min(self._num_slots, max(high + 1, low + span))
        )

    def _take(self, slot: int, num_blocks: int, source: int | None) -> Place:
        self._cut(slot, num_blocks if source is None else 0)
        self._is_taken[slot] = True
        self._num_taken += 1
        return Place(slot, self._slot_len, num_blocks * TILE, source)

    def _cut(self, slot: int, num_blocks: int) -> None:
        """Forget the slot's blocks behind the first `num_blocks`."""
        names = self._names[slot]
        for name in names[num_blocks:]:
            holders = self._holders[name]
            holders.discard(slot)
            if not holders:
                del self._holders[name]
        del names[num_blocks:]

    def _file(self, slot: int) -> None:
        """Enter a free slot into the order in which slots are used again."""
        self._released[slot] = next(self._releases) if self._names[slot] else 0
        heapq.heappush(self._by_age, (self._released[slot], slot))
        if len(self._by_age) > 2 * self._num_slots + 64:
            self._by_age = [(self._released[slot], slot) for slot in _free(self._is_taken)]
            heapq.heapify(self._by_age)


def _free(is_taken: Iterable[bool]) -> list[int]:
    return [slot for slot, taken in enumerate(is_taken) if not taken]
