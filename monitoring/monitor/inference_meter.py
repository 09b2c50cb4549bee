"""How much is served and how fast, measured by the leader: for watchers over the last minute, for the
history since the last reading."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from monitoring.history.details import MODEL_SUMS, percentile_figures
from monitoring.history.figures import CLUSTER_FIGURES, HISTOGRAMS, listed
from monitoring.history.samples import CLUSTER, Sample
from monitoring.metrics.histograms import HistogramValue, percentile
from monitoring.monitor.contributions import ModelLoad, ServiceLoad
from monitoring.monitor.inference_totals import Totals, between

#: Seconds over which rates and percentiles of the live figures are taken.
WINDOW = 60.0
# After a longer silence it is not known when things happened: they are counted, but in no bucket.
_LONGEST_GAP = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """`stats` is the event's data; `sample` is None at the first reading and after a long silence."""

    stats: dict[str, Any]
    sample: Sample | None


class InferenceMeter:
    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._readings: deque[tuple[float, Totals]] = deque()

    def measure(self, totals: Totals, load: ServiceLoad, unix: float) -> Measured:
        now = self._clock()
        sample = None
        if self._readings:
            elapsed = now - self._readings[-1][0]
            if elapsed > _LONGEST_GAP:
                self._readings.clear()
            else:
                step = between(totals, self._readings[-1][1])
                sample = _sample(step, load, unix, elapsed)
        self._readings.append((now, totals))
        while len(self._readings) > 2 and now - self._readings[1][0] >= WINDOW:
            self._readings.popleft()
        first_at, first = self._readings[0]
        return Measured(_stats(between(totals, first), load, now - first_at), sample)

    def forget(self) -> None:
        """Somebody else measures from now on: begin anew when it is our turn again."""
        self._readings.clear()


def active_requests(load: ServiceLoad) -> int:
    """What callers wait for: in the queue, with a worker, in an engine."""
    inside = sum(model.running + model.waiting for model in load.models.values())
    return load.queued + max(load.active, inside)


def _sample(step: Totals, load: ServiceLoad, unix: float, elapsed: float) -> Sample:
    details = step.details()
    usages = [m.kv_cache_usage for m in load.models.values() if m.kv_cache_usage is not None]
    cache = 100 * max(usages) if usages else None
    now = {
        "active_requests": active_requests(load),
        "running": sum(model.running for model in load.models.values()),
        "waiting": sum(model.waiting for model in load.models.values()),
        "queued": load.queued,
        "kv_cache_usage": cache,
    }
    figures = {
        **{name: step.sum_of(name) for name in MODEL_SUMS},
        **now,
        **{f"{name}_max": value for name, value in now.items()},
        "workers": load.workers,
        "engines": sum(model.engines for model in load.models.values()),
        "http_requests": sum(step.http.values()),
        "http_errors": sum(n for status, n in step.http.items() if status.startswith("5")),
        **percentile_figures(details.histograms()),
    }
    return Sample(CLUSTER, 1, int(unix), elapsed, listed(CLUSTER_FIGURES, figures), details)


def _stats(window: Totals, load: ServiceLoad, seconds: float) -> dict[str, Any]:
    models = {
        name: {
            **_rates({key: model.sums[place] for place, key in enumerate(MODEL_SUMS)}, seconds),
            **_spreads(model.histograms),
            **_load_of(load.models.get(name, ModelLoad())),
        }
        for name, model in window.models.items()
        if any(model.sums) or name in load.models
    }
    for name, one in load.models.items():
        if name not in models:
            models[name] = {**_rates({}, seconds), **_spreads({}), **_load_of(one)}
    return {
        "window": round(seconds, 1),
        **_rates({name: window.sum_of(name) for name in MODEL_SUMS}, seconds),
        **_spreads(window.histograms()),
        "errors_by_code": dict(window.errors),
        "active_requests": active_requests(load),
        "running": sum(model.running for model in load.models.values()),
        "waiting": sum(model.waiting for model in load.models.values()),
        "queued": load.queued,
        "workers": load.workers,
        "models": models,
    }


def _rates(sums: Mapping[str, float], seconds: float) -> dict[str, Any]:
    """Counts of the window, and a second; null while there is only one reading."""
    requests, errors = sums.get("requests", 0.0), sums.get("errors", 0.0)
    tokens = sums.get("generation_tokens", 0.0)
    prompt = sums.get("prompt_tokens", 0.0)

    def rate(count: float) -> float | None:
        return round(count / seconds, 3) if seconds > 0 else None

    return {
        "requests": int(requests),
        "errors": int(errors),
        "prompt_tokens": int(prompt),
        "generation_tokens": int(tokens),
        "requests_per_second": rate(requests),
        "tokens_per_second": rate(tokens),
        "prompt_tokens_per_second": rate(prompt),
        "error_rate": round(errors / requests, 4) if requests else None,
    }


def _spreads(histograms: Mapping[str, HistogramValue]) -> dict[str, Any]:
    return {name: spread(histograms.get(name)) for name in HISTOGRAMS}


def spread(value: HistogramValue | None) -> dict[str, Any]:
    """`{count, p50, p95, p99}` in seconds; null where nothing was observed."""
    if value is None or not value.count:
        return {"count": 0, "p50": None, "p95": None, "p99": None}
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    found = {name: percentile(value, share) for name, share in shares.items()}
    return {
        "count": value.count,
        **{name: None if one is None else round(one, 6) for name, one in found.items()},
    }


def _load_of(load: ModelLoad) -> dict[str, Any]:
    return {
        "running": load.running,
        "waiting": load.waiting,
        "engines": load.engines,
        "kv_cache_usage": load.kv_cache_usage,
    }
