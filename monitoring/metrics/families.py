"""The three kinds of metric families. Names come without the prefix `llamagpu_`."""

from __future__ import annotations

import math
import re
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, ClassVar

from monitoring.metrics.histograms import LATENCY_BUCKETS
from monitoring.metrics.labels import MAX_VALUES, Key, LabelSpace
from monitoring.metrics.registry import REGISTRY, Registry

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Merge(StrEnum):
    """What a gauge is where several processes have set it."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    #: The value that was set last, by the clocks of the processes.
    LAST = "last"


class Family:
    """One name with its labels; `max_values` bounds the values of each label."""

    kind: ClassVar[Kind]

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        max_values: int = MAX_VALUES,
        registry: Registry = REGISTRY,
    ) -> None:
        for word in (name, *labels):
            if not _NAME.fullmatch(word):
                raise ValueError(f"{word!r} is no name: a small letter, then letters, digits and _")
        if "le" in labels:
            raise ValueError("the label `le` belongs to the buckets of histograms")
        self.name = name
        self.help = help
        self.labels = tuple(labels)
        self._lock = threading.Lock()
        self._space = LabelSpace(self.labels, max_values)
        registry.add(self)


class Counter(Family):
    """What only grows. The name ends in `_total`."""

    kind = Kind.COUNTER

    def __init__(self, name: str, help: str, labels: Sequence[str] = (), **options: Any) -> None:
        if not name.endswith("_total"):
            raise ValueError(f"the name of a counter ends in _total: {name}")
        super().__init__(name, help, labels, **options)
        self._deltas: dict[Key, float] = {}

    def inc(self, amount: float = 1, /, **labels: Any) -> None:
        """Raises ValueError for a negative amount or other labels than the declared ones."""
        if not 0 <= amount < math.inf:
            raise ValueError(f"a counter cannot grow by {amount}")
        with self._lock:
            key = self._space.find(labels)
            self._deltas[key] = self._deltas.get(key, 0) + amount

    def take(self) -> dict[Key, float]:
        """What was counted since the last time."""
        if not self._deltas:
            return {}
        with self._lock:
            taken, self._deltas = self._deltas, {}
        return taken


class Gauge(Family):
    """What goes up and down: the state of this process, merged with that of others by `merge`."""

    kind = Kind.GAUGE

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        *,
        merge: Merge = Merge.SUM,
        **options: Any,
    ) -> None:
        super().__init__(name, help, labels, **options)
        self.merge = merge
        self._values: dict[Key, tuple[float, float]] = {}

    def set(self, value: float, /, **labels: Any) -> None:
        """NaN and infinity leave the series out: what cannot be measured has no value."""
        with self._lock:
            key = self._space.find(labels)
            if math.isfinite(value):
                self._values[key] = (value, time.time())
            else:
                self._values.pop(key, None)

    def inc(self, amount: float = 1, /, **labels: Any) -> None:
        with self._lock:
            key = self._space.find(labels)
            self._values[key] = (self._values.get(key, (0.0, 0.0))[0] + amount, time.time())

    def dec(self, amount: float = 1, /, **labels: Any) -> None:
        self.inc(-amount, **labels)

    def remove(self, **labels: Any) -> None:
        with self._lock:
            self._values.pop(self._space.find(labels), None)

    def clear(self) -> None:
        """Forget all series: a source calls it before it sets those that there are now."""
        with self._lock:
            self._values.clear()

    def values(self) -> dict[Key, tuple[float, float]]:
        """What was set, and when (seconds since the epoch)."""
        with self._lock:
            return dict(self._values)


class Histogram(Family):
    """How values spread: counts in buckets, which add up over processes and nodes."""

    kind = Kind.HISTOGRAM

    def __init__(
        self,
        name: str,
        help: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS,
        **options: Any,
    ) -> None:
        bounds = tuple(float(bound) for bound in buckets)
        if not bounds or list(bounds) != sorted(set(bounds)) or not math.isfinite(bounds[-1]):
            raise ValueError(f"the buckets of {name} must be finite and in order")
        super().__init__(name, help, labels, **options)
        self.buckets = bounds
        # Counts of the buckets, of what lies beyond, and the sum of all values.
        self._deltas: dict[Key, list[float]] = {}

    def observe(self, value: float, /, **labels: Any) -> None:
        """Clocks of two machines may differ, so what is below zero counts as zero."""
        if not math.isfinite(value):
            return
        value = max(0.0, value)
        index = bisect_left(self.buckets, value)
        with self._lock:
            delta = self._delta(labels)
            delta[index] += 1
            delta[-1] += value

    def observe_all(self, values: Iterable[tuple[float, int]], /, **labels: Any) -> None:
        """Many (value, times) of one series at once, for what comes too often to be told singly."""
        with self._lock:
            delta = self._delta(labels)
            for value, times in values:
                value = max(0.0, value)
                delta[bisect_left(self.buckets, value)] += times
                delta[-1] += value * times

    def _delta(self, labels: dict[str, Any]) -> list[float]:
        key = self._space.find(labels)
        delta = self._deltas.get(key)
        if delta is None:
            delta = self._deltas[key] = [0] * (len(self.buckets) + 1) + [0.0]
        return delta

    def take(self) -> dict[Key, list[float]]:
        """What was observed since the last time."""
        if not self._deltas:
            return {}
        with self._lock:
            taken, self._deltas = self._deltas, {}
        return taken
