"""Watches how requests end: writes a summary now and then, and names those that were slow."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from typing import Any

from plugins_app.base import BasePlugin, FinishedContext

PLUGIN_METADATA = {
    "name": "Performance monitor",
    "version": "1.0.0",
    "author": "LLaMA GPU",
    "description": "Writes to the worker's log, every so often, how many requests ended how, times to "
    "the first token and tokens a second; and at once each request that was slower than wanted.",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "observer",
}
SETTINGS_SCHEMA = {
    "type": "object",
    "properties": {
        "interval": {
            "description": "seconds between two summaries",
            "type": "number",
            "minimum": 1,
            "maximum": 86400,
            "default": 60,
        },
        "slow_ttft": {
            "description": "seconds to the first token from which a request is named; 0: never",
            "type": "number",
            "minimum": 0,
            "default": 0,
        },
        "slow_duration": {
            "description": "the same of its whole time",
            "type": "number",
            "minimum": 0,
            "default": 0,
        },
        "window": {
            "description": "requests of which percentiles are made",
            "type": "integer",
            "minimum": 10,
            "maximum": 100000,
            "default": 1000,
        },
    },
}

logger = logging.getLogger("plugins_app.core.performance_monitor")


class PerformanceMonitor(BasePlugin):
    metadata = PLUGIN_METADATA

    def initialize(self) -> bool:
        self._lock = threading.Lock()
        self._ends: Counter[str] = Counter()
        self._tokens = 0
        self._since = time.monotonic()
        self._ttfts: deque[float] = deque(maxlen=self.config["window"])
        self._rates: deque[float] = deque(maxlen=self.config["window"])
        return True

    def execute(self, input_data: FinishedContext) -> FinishedContext:
        self._name_slow(input_data)
        with self._lock:
            self._note(input_data)
            if time.monotonic() - self._since >= self.config["interval"]:
                self._summarize()
        return input_data

    def cleanup(self) -> None:
        with self._lock:
            if self._ends:
                self._summarize()

    def _note(self, ended: FinishedContext) -> None:
        self._ends[ended.error_code or ended.finish_reason] += 1
        self._tokens += ended.completion_tokens
        if ended.ttft is not None:
            self._ttfts.append(ended.ttft)
            computing = ended.duration - (ended.queue_time or 0.0) - ended.ttft
            if ended.completion_tokens > 1 and computing > 0:
                self._rates.append((ended.completion_tokens - 1) / computing)

    def _summarize(self) -> None:
        seconds = max(time.monotonic() - self._since, 1e-9)
        ends = ", ".join(f"{name} {number}" for name, number in self._ends.most_common())
        logger.info(
            "%d requests in %.0f s (%s); %.1f tokens/s; ttft p50 %s, p95 %s; per request p50 %s tokens/s",
            sum(self._ends.values()), seconds, ends, self._tokens / seconds,
            percentile(self._ttfts, 0.5), percentile(self._ttfts, 0.95), percentile(self._rates, 0.5),
        )  # fmt: skip
        self._ends.clear()
        self._tokens, self._since = 0, time.monotonic()

    def _name_slow(self, ended: FinishedContext) -> None:
        limits: dict[str, Any] = {"ttft": "slow_ttft", "duration": "slow_duration"}
        for name, setting in limits.items():
            value, limit = getattr(ended, name), self.config[setting]
            if limit and value is not None and value > limit:
                logger.warning(
                    "request %s of model %s: %s %.2f s, over %.2f s",
                    ended.request_id, ended.model, name, value, limit,
                )  # fmt: skip


def percentile(values: deque[float], part: float) -> str:
    """For people: three digits behind the point, a dash for none."""
    if not values:
        return "-"
    ordered = sorted(values)
    return f"{ordered[min(len(ordered) - 1, int(part * len(ordered)))]:.3f}"
