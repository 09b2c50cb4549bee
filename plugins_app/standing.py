"""What the workers say of plugins: which run them, since which change, and how well."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import redis

from plugins_app.models import Plugin
from plugins_app.presence import PluginReport, Reports, read_reports
from plugins_app.runners.base import RunnerState
from plugins_app.states import PluginState

_POLL = 0.05
_CLOSED_BREAKER = "closed"
_TROUBLED = {RunnerState.FAILED, RunnerState.BACKING_OFF}

ReportsByWorker = Mapping[str, Reports]


@dataclass(frozen=True, slots=True)
class WorkerWord:
    """One worker's word on one plugin. `isolation` names the walls that hold; memory in bytes."""

    worker: str
    state: str
    error: str
    version: str
    generation: int
    tried_generation: int
    pid: int | None
    memory: int | None
    restarts: int
    breaker: str
    isolation: tuple[str, ...]

    @property
    def is_troubled(self) -> bool:
        is_open = self.breaker not in ("", _CLOSED_BREAKER)
        return bool(self.error) or is_open or self.state in _TROUBLED

    def has_taken_up(self, row: Plugin) -> bool:
        """The last change of the plugin has reached this worker, and it says how that went."""
        is_settled = self.state == RunnerState.READY or self.is_troubled
        return is_settled and self.tried_generation >= row.generation


@dataclass(frozen=True, slots=True)
class Standing:
    """`state` is the row's, or active or degraded where workers have a word on a loaded plugin."""

    state: PluginState
    workers: tuple[WorkerWord, ...] = ()

    @property
    def error(self) -> str:
        return next((word.error for word in self.workers if word.error), "")


def standing_of(row: Plugin, reports: ReportsByWorker) -> Standing:
    words = tuple(
        _word(worker, found[row.slug])
        for worker, found in sorted(reports.items())
        if row.slug in found
    )
    state = PluginState(row.state)
    if state is PluginState.LOADED and words:
        if any(word.is_troubled for word in words):
            state = PluginState.DEGRADED
        elif len(words) == len(reports) and all(word.has_taken_up(row) for word in words):
            state = PluginState.ACTIVE
    return Standing(state, words)


def await_taken_up(row: Plugin, *, patience: float) -> tuple[Standing, bool]:
    """How it stands once every worker has taken up its last change, or `patience` seconds are over;
    and whether that is so. Where no worker lives, nobody waits."""
    deadline = time.monotonic() + patience
    while True:
        reports = live_reports()
        standing = standing_of(row, reports)
        words = [word for word in standing.workers if word.has_taken_up(row)]
        is_done = bool(reports) and len(words) == len(reports)
        if is_done or not reports or time.monotonic() >= deadline:
            return standing, is_done
        time.sleep(_POLL)


def await_gone(row: Plugin, *, patience: float) -> bool:
    """Whether no worker runs it any more; waits at most `patience` seconds for that.

    Without Redis nobody can say so.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            reports = read_reports()
        except redis.RedisError:
            return False
        if not any(row.slug in found for found in reports.values()):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL)


def live_reports() -> ReportsByWorker:
    """By worker and plugin; nothing where Redis does not answer: its own probe says so."""
    try:
        return read_reports()
    except redis.RedisError:
        return {}


def _word(worker: str, report: PluginReport) -> WorkerWord:
    return WorkerWord(
        worker=worker,
        state=str(report.state),
        error=report.error,
        version=report.version,
        generation=report.generation,
        tried_generation=report.tried_generation,
        pid=report.pid,
        memory=report.resident_bytes,
        restarts=report.restarts,
        breaker=str(report.breaker),
        isolation=tuple(report.isolation),
    )
