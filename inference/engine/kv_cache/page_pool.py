"""Pages of the paged cache, counted: who holds which, which are free, which may be shared again.

No torch. A page is a number; what it holds is `inference.engine.kv_cache.paged`'s business.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict

# Tokens of a page. torch's paged attention wants a multiple of 256.
PAGE = 256
# The page that padded rows write into. It belongs to nobody and is never handed out.
SCRATCH_PAGE = 0


class PagePool:
    """Reference counts over pages 1 to `num_pages`.

    A page is in one of three states: **free** (unknown contents), **held** by one or more owners, or
    **idle**: held by nobody, but published under a key and so worth keeping. Idle pages are given up
    in the order in which they were let go, when no free page is left.
    """

    def __init__(self, num_pages: int) -> None:
        if num_pages < 1:
            raise ValueError(f"a pool of {num_pages} pages")
        self.num_pages = num_pages
        self._free = list(range(1, num_pages + 1))  # a heap: the lowest number first
        self._references: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # the longest idle first
        self._page_of: dict[bytes, int] = {}
        self._key_of: dict[int, bytes] = {}

    @property
    def num_available(self) -> int:
        """Pages that `take` could hand out now: free ones and idle ones."""
        return len(self._free) + len(self._idle)

    @property
    def num_held(self) -> int:
        return len(self._references)

    @property
    def num_idle(self) -> int:
        return len(self._idle)

    def num_owners(self, page: int) -> int:
        return self._references.get(page, 0)

    def take(self) -> int:
        """A page with one owner and unknown contents. Raises RuntimeError where none is left."""
        if self._free:
            page = heapq.heappop(self._free)
        elif self._idle:
            page, _ = self._idle.popitem(last=False)
            self._forget(page)
        else:
            raise RuntimeError("no page is left")
        self._references[page] = 1
        return page

    def find(self, key: bytes) -> int | None:
        """The page published under `key`, without taking it."""
        return self._page_of.get(key)

    def is_idle(self, page: int) -> bool:
        return page in self._idle

    def share(self, key: bytes) -> int:
        """One more owner for the page published under `key`. Raises KeyError where there is none."""
        page = self._page_of[key]
        self._idle.pop(page, None)
        self._references[page] = self._references.get(page, 0) + 1
        return page

    def publish(self, page: int, key: bytes) -> None:
        """Offer a held page, which is full and will not be written again, under `key`.

        Where another page holds the same tokens already, or the page has a key, nothing changes.
        Raises RuntimeError for a page that nobody holds.
        """
        if page not in self._references:
            raise RuntimeError(f"page {page} is not held")
        if key not in self._page_of and page not in self._key_of:
            self._page_of[key] = page
            self._key_of[page] = key

    def withdraw(self, page: int) -> None:
        """Offer the page no more; its owners keep it."""
        self._forget(page)
        if page in self._idle:
            del self._idle[page]
            heapq.heappush(self._free, page)

    def release(self, page: int) -> None:
        """One owner less. Raises RuntimeError for a page that nobody holds."""
        if page not in self._references:
            raise RuntimeError(f"page {page} is not held")
        self._references[page] -= 1
        if self._references[page]:
            return
        del self._references[page]
        if page in self._key_of:
            self._idle[page] = None
        else:
            heapq.heappush(self._free, page)

    def withdraw_all(self) -> None:
        """Offer nothing that is published now any more."""
        for page in list(self._key_of):
            self.withdraw(page)

    def _forget(self, page: int) -> None:
        key = self._key_of.pop(page, None)
        if key is not None:
            del self._page_of[key]
