"""Accounting of the paged cache: every sequence owns a list of pages, which grows with it (no torch).

Prompts that begin alike share pages: a page that is full and computed is published under the key of
its last block, which stands for all tokens before it and for their tenant. Only full pages are
shared and full pages are never written again, so nothing is ever copied.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from inference.engine.kv_cache.base import CacheAccounting, Place
from inference.engine.kv_cache.page_pool import PAGE, PagePool
from inference.engine.tiling import TILE

# Of the pages that are left, one is kept back for so many running sequences: they go on growing.
_SEQUENCES_PER_KEPT_PAGE = 4


class PagedAccounting(CacheAccounting):
    """Block tables over a `PagePool`. `page` is the tokens of a page, a multiple of TILE."""

    def __init__(self, num_slots: int, num_pages: int, page: int = PAGE) -> None:
        if page < TILE or page % TILE:
            raise ValueError(f"pages of {page} tokens are no multiple of {TILE}")
        self.page = page
        self.pool = PagePool(num_pages)
        self._num_slots = num_slots
        self._free_slots = list(range(num_slots))
        self._tables: dict[int, list[int]] = {}
        # What a slot's last owner held, so that it can be forgotten even after it was given back.
        self._former: dict[int, list[int]] = {}

    @property
    def num_free(self) -> int:
        return len(self._free_slots)

    @property
    def num_slots(self) -> int:
        return self._num_slots

    @property
    def num_token_places(self) -> int:
        return self.pool.num_pages * self.page

    def table(self, slot: int) -> Sequence[int]:
        """The pages of a taken slot, in the order of its tokens."""
        return self._tables[slot]

    def private_pages(self, slot: int, num_tokens: int) -> list[int]:
        """Of the pages that hold the first `num_tokens`, those that no other sequence reads."""
        held = self._tables.get(slot, ())[: self._num_pages(num_tokens)]
        return [page for page in held if self.pool.num_owners(page) == 1]

    def allocate(self, num_tokens: int, keys: Sequence[bytes] = ()) -> Place | None:
        shared = self._shared_keys(keys)[: self._num_pages(num_tokens)]
        num_needed = self._num_pages(num_tokens) - len(shared)
        # A shared page that is idle now is no longer available once it is shared.
        num_revived = sum(self._is_idle(key) for key in shared)
        if not self._free_slots or num_needed + num_revived + self._kept > self.pool.num_available:
            return None
        slot = heapq.heappop(self._free_slots)
        table = [self.pool.share(key) for key in shared]
        table += [self.pool.take() for _ in range(num_needed)]
        self._tables[slot] = table
        self._former.pop(slot, None)
        return Place(slot, len(table) * self.page, len(shared) * self.page)

    def match(self, keys: Sequence[bytes]) -> int:
        return len(self._shared_keys(keys)) * self.page

    def grow(self, slot: int, num_tokens: int) -> int:
        table = self._taken(slot)
        num_needed = self._num_pages(num_tokens) - len(table)
        if 0 < num_needed <= self.pool.num_available:
            table += [self.pool.take() for _ in range(num_needed)]
        return len(table) * self.page

    def publish(self, slot: int, keys: Sequence[bytes]) -> None:
        for page, key in zip(self._taken(slot), self._page_keys(keys), strict=False):
            self.pool.publish(page, key)

    def free(self, slot: int) -> None:
        table = self._taken(slot)
        del self._tables[slot]
        self._former[slot] = table
        heapq.heappush(self._free_slots, slot)
        # The end first: what is let go first is given up first, and a prefix is worth more.
        for page in reversed(table):
            self.pool.release(page)

    def forget(self, slot: int) -> None:
        former = self._former.get(slot, [])
        for page in self._tables.get(slot, former):
            self.pool.withdraw(page)

    def forget_all(self) -> None:
        self.pool.withdraw_all()

    def idle_slots(self) -> list[int]:
        # Pages have no slot of their own once they are free, and a device's memory is not given back.
        return []

    @property
    def _kept(self) -> int:
        return -(-len(self._tables) // _SEQUENCES_PER_KEPT_PAGE)

    def _taken(self, slot: int) -> list[int]:
        if slot not in self._tables:
            raise RuntimeError(f"slot {slot} is not taken")
        return self._tables[slot]

    def _num_pages(self, num_tokens: int) -> int:
        return -(-num_tokens // self.page)

    def _page_keys(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        """Of the blocks' keys those that end a page: each stands for the whole page before it."""
        blocks = self.page // TILE
        return keys[blocks - 1 :: blocks]

    def _shared_keys(self, keys: Sequence[bytes]) -> list[bytes]:
        """The keys of the leading pages that are in the cache."""
        found = []
        for key in self._page_keys(keys):
            if self.pool.find(key) is None:
                break
            found.append(key)
        return found

    def _is_idle(self, key: bytes) -> bool:
        page = self.pool.find(key)
        return page is not None and self.pool.is_idle(page)
