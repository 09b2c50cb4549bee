"""How one plugin has been doing in all workers: calls, faults, times, memory, restarts, breaker."""

from __future__ import annotations

from dataclasses import dataclass, field

from monitoring.metrics.histograms import percentile
from monitoring.metrics.reading import Snapshot, snapshot
from plugins_app.breaker import BreakerState
from plugins_app.metrics import CALL_SECONDS, CALLS, RESTARTS
from plugins_app.presence import PluginReport, read_reports
from plugins_app.runners.base import FaultKind

_FAULTS = frozenset(kind.value for kind in FaultKind)


@dataclass(frozen=True, slots=True)
class PluginHealth:
    """Counts since metrics are kept; percentiles in seconds, None where nothing was called.

    `errors` are faults by their kind; `skipped` counts calls that an open breaker has spared.
    """

    calls: int = 0
    refusals: int = 0
    skipped: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    resident_bytes: int | None = None
    restarts: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    workers: dict[str, PluginReport] = field(default_factory=dict)


def health_of(slug: str) -> PluginHealth:
    """Raises RedisError."""
    reports = {worker: found[slug] for worker, found in read_reports().items() if slug in found}
    return _health(slug, snapshot(), reports)


def _health(slug: str, figures: Snapshot, workers: dict[str, PluginReport]) -> PluginHealth:
    by_outcome = {
        outcome: int(figures.counter(CALLS.name, plugin=slug, outcome=outcome))
        for outcome in figures.values_of(CALLS.name, "outcome")
    }
    times = figures.histogram(CALL_SECONDS.name, plugin=slug)
    p50, p95, p99 = (
        percentile(times, share) if times is not None else None for share in (0.5, 0.95, 0.99)
    )
    sizes = [r.resident_bytes for r in workers.values() if r.resident_bytes is not None]
    return PluginHealth(
        calls=sum(by_outcome.values()) - by_outcome.get("skipped", 0),
        refusals=by_outcome.get("refused", 0),
        skipped=by_outcome.get("skipped", 0),
        errors={kind: n for kind, n in by_outcome.items() if kind in _FAULTS and n},
        p50=p50,
        p95=p95,
        p99=p99,
        resident_bytes=sum(sizes) if sizes else None,
        restarts=int(figures.counter(RESTARTS.name, plugin=slug)),
        breaker=_worst([report.breaker for report in workers.values()]),
        workers=workers,
    )


def _worst(states: list[BreakerState]) -> BreakerState:
    order = (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED)
    return next((state for state in order if state in states), BreakerState.CLOSED)
