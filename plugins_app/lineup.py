"""Which plugins a request works with: those that run when it begins, until it ends. No Django.

A line-up never changes; a reload puts another in its place. What only old line-ups name is in use as
long as requests hold them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType

from plugins_app.link import Link
from plugins_app.runners.base import Runner

#: Seconds that one is kept for its requests: longer than any of them may take (LLAMA_JOB_TIMEOUT).
LONGEST = 1800.0


class _Lineup:
    __slots__ = ("links", "num_leases", "retired_at")

    def __init__(self, links: tuple[Link, ...]) -> None:
        self.links = links
        self.num_leases = 0
        self.retired_at: float | None = None


class Lease:
    """A context manager: within it the links stay usable, whatever is reloaded meanwhile."""

    __slots__ = ("_lineup", "_lineups")

    def __init__(self, lineups: Lineups) -> None:
        self._lineups = lineups
        self._lineup: _Lineup | None = None

    def __enter__(self) -> tuple[Link, ...]:
        self._lineup = self._lineups.take()
        return self._lineup.links

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._lineup is not None:
            self._lineups.give_back(self._lineup)


class Lineups:
    """The line-up of now, and the old ones that somebody still holds.

    `on_free` is called, in a thread that should not be kept, when an old one is given back by its last
    holder. An old one counts as given back after `longest` seconds.
    """

    def __init__(
        self,
        on_free: Callable[[], None],
        longest: float = LONGEST,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_free = on_free
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._now = _Lineup(())
        self._old: list[_Lineup] = []

    @property
    def links(self) -> tuple[Link, ...]:
        return self._now.links

    def lease(self) -> Lease:
        return Lease(self)

    def replace(self, links: Iterable[Link]) -> None:
        with self._lock:
            old, self._now = self._now, _Lineup(tuple(links))
            old.retired_at = self._clock()
            if old.num_leases:
                self._old.append(old)

    def runners_in_use(self) -> set[Runner]:
        """Those of the line-up of now, and of those that are held."""
        with self._lock:
            since = self._clock() - self._longest
            self._old = [
                old for old in self._old if old.num_leases and (old.retired_at or 0.0) > since
            ]
            return {link.runner for lineup in (self._now, *self._old) for link in lineup.links}

    def take(self) -> _Lineup:
        with self._lock:
            self._now.num_leases += 1
            return self._now

    def give_back(self, lineup: _Lineup) -> None:
        with self._lock:
            lineup.num_leases -= 1
            is_free = lineup.num_leases == 0 and lineup.retired_at is not None
        if is_free:
            self._on_free()
