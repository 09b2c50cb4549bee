"""What the engines of this worker report, as metrics of the whole installation.

An engine counts from its own start. Here only what has come since its last report is added, so that
engines which come, go and die leave sums that grow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from inference import metrics
from inference.presence import EngineReport
from inference.states import ModelState
from monitoring.metrics import Counter

_Figures = Mapping[str, float]
_Engine = tuple[str, int, int, int | None]

#: Counts of `Stats`, where they go, and the kind of step that they belong to.
_COUNTS: tuple[tuple[str, Counter, str], ...] = (
    ("cached_tokens_total", metrics.CACHE_HITS, ""),
    ("prompt_tokens_total", metrics.CACHE_QUERIES, ""),
    ("drafted_tokens_total", metrics.DRAFTED, ""),
    ("accepted_drafts_total", metrics.ACCEPTED, ""),
    ("preemptions_total", metrics.PREEMPTIONS, ""),
    ("oom_retries_total", metrics.OOM_RETRIES, ""),
    ("prefill_steps_total", metrics.STEPS, "prefill"),
    ("decode_steps_total", metrics.STEPS, "decode"),
    ("prefill_time_total", metrics.STEP_SECONDS, "prefill"),
    ("decode_time_total", metrics.STEP_SECONDS, "decode"),
)


class EngineFigures:
    """A source of metrics: `update` runs before each flush."""

    def __init__(
        self,
        worker: str,
        reports: Callable[[], Iterable[EngineReport]],
        num_active: Callable[[], int],
    ) -> None:
        self._worker = worker
        self._reports = reports
        self._num_active = num_active
        self._before: dict[_Engine, _Figures] = {}

    def update(self) -> None:
        metrics.WORKERS.set(1)
        metrics.ACTIVE_JOBS.set(self._num_active(), worker=self._worker)
        reports = list(self._reports())
        _set_gauges(reports)
        self._before = {_engine(report): self._count(report) for report in reports}

    def _count(self, report: EngineReport) -> _Figures:
        now = _figures(report.metrics)
        before = self._before.get(_engine(report), {})
        if not now:
            return before
        for name, counter, kind in _COUNTS:
            more = now.get(name, 0.0) - before.get(name, 0.0)
            if more > 0:
                labels = {"kind": kind} if kind else {}
                counter.inc(more, model_name=report.model, **labels)
        return now


def _engine(report: EngineReport) -> _Engine:
    """Changes with every engine, which counts from zero."""
    return report.model, report.generation, report.restarts, report.pid


def _figures(stats: Mapping[str, Any]) -> dict[str, float]:
    figures = {
        name: float(value) for name, value in stats.items() if isinstance(value, int | float)
    }
    if figures:
        prefills = figures.get("prefill_steps_total", 0.0)
        figures["decode_steps_total"] = figures.get("steps_total", 0.0) - prefills
    return figures


def _set_gauges(reports: Iterable[EngineReport]) -> None:
    by_report = (
        metrics.RUNNING,
        metrics.WAITING,
        metrics.SLOTS,
        metrics.CACHE_USAGE,
        metrics.RESIDENT_BYTES,
        metrics.DEVICE_BYTES,
        metrics.STATES,
    )
    for gauge in by_report:
        gauge.clear()
    for report in reports:
        model = report.model
        metrics.STATES.set(1, model_name=model, state=report.state)
        if report.state is not ModelState.READY:
            continue
        metrics.RUNNING.set(report.num_running, model_name=model)
        metrics.WAITING.set(report.num_waiting, model_name=model)
        metrics.SLOTS.set(report.num_slots, model_name=model)
        metrics.CACHE_USAGE.set(report.kv_cache_usage, model_name=model)
        metrics.RESIDENT_BYTES.set(report.resident_bytes, model_name=model)
        for kind, num_bytes in (report.metrics.get("device_memory") or {}).items():
            metrics.DEVICE_BYTES.set(num_bytes, model_name=model, kind=kind)


def note_load(model: str, outcome: str, seconds: float | None = None) -> None:
    """A load has come to its end: `outcome` is ready or an error code."""
    metrics.LOADS.inc(model_name=model, outcome=outcome)
    if seconds is not None:
        metrics.LOAD_SECONDS.observe(seconds, model_name=model)
