"""The value of a rule for every series that it watches, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from monitoring.alerts.labels import matches
from monitoring.alerts.values import ValueKind, begin_moment, value_of, watchables
from monitoring.alerts.windows import Series, Windows
from monitoring.alerts.words import Comparison
from monitoring.metrics.histograms import HistogramValue, difference, percentile
from monitoring.metrics.labels import Key
from monitoring.metrics.reading import Snapshot

#: Fewer ends within the window are no ratio.
_FEWEST = 5
# With these a window that is not over yet would be taken for one in which little happened.
_NEED_WHOLE = {Comparison.BELOW, Comparison.AT_MOST, Comparison.EQUAL, Comparison.UNEQUAL}


class Question(Protocol):
    """What of a rule decides what is read."""

    @property
    def metric(self) -> str: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def comparison(self) -> str: ...
    @property
    def window(self) -> int: ...
    @property
    def quantile(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Found:
    labels: dict[str, str]
    value: float


class UnknownValueError(Exception):
    """A rule names what this version does not measure."""


class Readings:
    """Reads each name once a moment, and remembers what windows need."""

    def __init__(self) -> None:
        self._windows = Windows()
        self._kept: dict[str, tuple[float, Series]] = {}
        self._snapshot = Snapshot(at=0.0)
        self._now = 0.0
        self._fresh: set[str] = set()
        self._known = watchables()

    def begin(self, snapshot: Snapshot, now: float) -> None:
        """A new moment; `now` is monotonic."""
        begin_moment()
        self._snapshot, self._now = snapshot, now
        self._fresh.clear()
        self._known = watchables()

    def forget(self) -> None:
        """What came meanwhile is not known: windows begin anew."""
        self._windows.clear()
        self._kept.clear()

    def keep_only(self, names: set[str]) -> None:
        self._windows.keep_only(names)

    def values(self, question: Question) -> list[Found]:
        """Raises RedisError, and UnknownValueError for a name that is not known here."""
        known = self._known.get(question.metric)
        if known is None:
            raise UnknownValueError(f"there is no metric {question.metric}")
        series = self._read(known.name, known.kind)
        if known.kind is ValueKind.LEVEL:
            numbers: Mapping[Key, float | None] = dict(series)
        else:
            numbers = self._over_window(question, known.kind, series)
        found = [
            Found(dict(zip(known.labels, key, strict=False)), number)
            for key, number in numbers.items()
            if number is not None
        ]
        return [one for one in found if matches(question.labels, one.labels)]

    def _read(self, name: str, kind: ValueKind) -> Series:
        kept = self._kept.get(name)
        own = value_of(name)
        if kept is not None and (
            name in self._fresh or (own is not None and self._now - kept[0] < own.every)
        ):
            return kept[1]
        if own is not None:
            series: Series = own.read(self._snapshot)
        else:
            series = {
                ValueKind.LEVEL: self._snapshot.gauges,
                ValueKind.COUNT: self._snapshot.counters,
                ValueKind.PERCENTILE: self._snapshot.histograms,
            }.get(kind, {}).get(name, {})
        self._kept[name] = (self._now, series)
        self._fresh.add(name)
        if kind is not ValueKind.LEVEL:
            self._windows.note(name, self._now, series)
        return series

    def _over_window(
        self, question: Question, kind: ValueKind, series: Series
    ) -> dict[Key, float | None]:
        base, covered = self._windows.before(question.metric, question.window, self._now)
        if covered <= 0 or (question.comparison in _NEED_WHOLE and covered < question.window):
            return {}
        return {
            key: _taken(kind, value, base.get(key), question.quantile)
            for key, value in series.items()
        }


def _taken(kind: ValueKind, value: Any, earlier: Any, quantile: float) -> float | None:
    if kind is ValueKind.CHANGE:
        return None if earlier is None else value - earlier
    if kind is ValueKind.COUNT:
        return _grown(value, earlier or 0.0)
    if kind is ValueKind.RATIO:
        part, whole = earlier or (0.0, 0.0)
        ended = _grown(value[1], whole)
        return _grown(value[0], part) / ended if ended >= _FEWEST else None
    added: HistogramValue = value if earlier is None else difference(value, earlier)
    return percentile(added, quantile) if added.count else None


def _grown(later: float, earlier: float) -> float:
    """A count that is lower than before has begun anew: all of it."""
    return later - earlier if later >= earlier else later
