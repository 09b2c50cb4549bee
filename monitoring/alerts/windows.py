"""Earlier readings, so that a rule can look at what came within a window of time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from monitoring.metrics.labels import Key

#: The longest window of a rule, in seconds.
LONGEST = 3600
# Readings that are closer together are not all kept.
_DISTANCE = 5.0

Series = Mapping[Key, Any]


class Windows:
    """Readings of each name with the monotonic second at which they were taken."""

    def __init__(self) -> None:
        self._readings: dict[str, deque[tuple[float, Series]]] = {}

    def note(self, name: str, now: float, series: Series) -> None:
        kept = self._readings.setdefault(name, deque())
        if not kept or now - kept[-1][0] >= _DISTANCE:
            kept.append((now, series))
        while len(kept) > 1 and kept[1][0] <= now - LONGEST:
            kept.popleft()

    def before(self, name: str, window: float, now: float) -> tuple[Series, float]:
        """What was read at the beginning of the window, or as soon after as was; and how long ago."""
        found: tuple[float, Series] | None = None
        for at, series in self._readings.get(name, ()):
            if found is not None and at > now - window:
                break
            found = (at, series)
        return (found[1], now - found[0]) if found is not None else ({}, 0.0)

    def keep_only(self, names: set[str]) -> None:
        for name in self._readings.keys() - names:
            del self._readings[name]

    def clear(self) -> None:
        self._readings.clear()
