"""Decides what fires and what is over. Knows no table and no clock but the one that it is handed.

A condition must hold for its rule's duration; an alert ends when the condition has not held for
`CALM` seconds, or when what it was about has not been measured for `GONE` seconds. In the first minute
of watching nothing fires that was never seen well: a portal that starts is no incident.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from monitoring.alerts.labels import fingerprint
from monitoring.alerts.readings import Found, Question
from monitoring.alerts.words import compare

CALM = 10.0
GONE = 60.0
SETTLING = 60.0
#: After a longer pause nobody knows what held meanwhile: durations begin anew.
LONGEST_PAUSE = 15.0
#: Series of one rule that may fire at once.
MOST_FIRING = 100


class Rule(Question, Protocol):
    @property
    def pk(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    @property
    def duration(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Standing:
    """One series of a rule whose condition holds, since so many seconds."""

    rule_id: int
    fingerprint: str
    labels: dict[str, str]
    value: float
    held: float


@dataclass(slots=True)
class Changes:
    """`over` are fingerprints of alerts that have ended; `values` those that go on, with their value."""

    firing: list[Standing] = field(default_factory=list)
    pending: list[Standing] = field(default_factory=list)
    over: list[str] = field(default_factory=list)
    values: dict[str, float] = field(default_factory=dict)
    suppressed: int = 0


@dataclass(slots=True)
class _Track:
    held_since: float | None = None
    calm_since: float | None = None
    was_well: bool = False
    seen_at: float = 0.0


class Evaluator:
    def __init__(self) -> None:
        self._tracks: dict[str, _Track] = {}
        self._gone_since: dict[str, float] = {}
        self._began: float | None = None
        self._last: float | None = None

    def begin(self, now: float) -> bool:
        """A new round; False where so much time has passed that earlier readings are worth nothing."""
        is_new = self._last is None or now - self._last > LONGEST_PAUSE
        if is_new:
            self.forget()
            self._began = now
        self._last = now
        return not is_new

    def forget(self) -> None:
        self._tracks.clear()
        self._gone_since.clear()
        self._began = self._last = None

    def judge(
        self,
        rule: Rule,
        found: Iterable[Found],
        firing: Collection[str],
        now: float,
        changes: Changes,
    ) -> None:
        """Hold what was found of one rule against it; `firing` are the fingerprints of its alerts."""
        num_firing, seen = len(firing), set()
        for one in found:
            mark = fingerprint(rule.pk, one.labels)
            seen.add(mark)
            track = self._tracks.setdefault(mark, _Track())
            track.seen_at = now
            is_firing = mark in firing
            if not compare(one.value, rule.comparison, rule.threshold):
                self._note_well(mark, track, is_firing, now, changes)
                continue
            track.calm_since = None
            if track.held_since is None:
                track.held_since = now
            if is_firing:
                changes.values[mark] = one.value
                continue
            held = now - track.held_since
            standing = Standing(rule.pk, mark, one.labels, one.value, held)
            if held < self._needed(rule, track, now):
                changes.pending.append(standing)
            elif num_firing >= MOST_FIRING:
                changes.suppressed += 1
            else:
                num_firing += 1
                changes.firing.append(standing)
        self._note_gone(set(firing) - seen, seen, now, changes)

    def end(self, now: float) -> None:
        """Forget series that were not seen for long, so that memory does not grow."""
        for mark in [mark for mark, track in self._tracks.items() if now - track.seen_at > GONE]:
            del self._tracks[mark]

    def _needed(self, rule: Rule, track: _Track, now: float) -> float:
        is_settled = self._began is not None and now - self._began >= SETTLING
        if track.was_well or is_settled:
            return float(rule.duration)
        return max(float(rule.duration), SETTLING)

    def _note_well(
        self, mark: str, track: _Track, is_firing: bool, now: float, changes: Changes
    ) -> None:
        track.was_well = True
        track.held_since = None
        if not is_firing:
            return
        if track.calm_since is None:
            track.calm_since = now
        if now - track.calm_since >= CALM:
            changes.over.append(mark)

    def _note_gone(self, gone: set[str], seen: set[str], now: float, changes: Changes) -> None:
        for mark in seen:
            self._gone_since.pop(mark, None)
        for mark in gone:
            if now - self._gone_since.setdefault(mark, now) >= GONE:
                del self._gone_since[mark]
                changes.over.append(mark)
