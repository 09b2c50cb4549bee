"""Counters that only grow, as figures a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class RateMeter:
    """Differences between two readings over the time between them.

    A counter that went back, as after a reset or a wrap, has no rate for that once: none is invented.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counters: Mapping[str, float] = {}
        self._read_at: float | None = None

    def per_second(self, counters: Mapping[str, float]) -> dict[str, float]:
        """The rates of those counters that were there at the last reading; empty at the first."""
        now, before, then = self._clock(), self._counters, self._read_at
        self._counters, self._read_at = dict(counters), now
        if then is None or now <= then:
            return {}
        return {
            name: (value - before[name]) / (now - then)
            for name, value in counters.items()
            if name in before and value >= before[name]
        }
