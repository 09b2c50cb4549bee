"""Workers that ended without having said so, counted by whoever looks once a second.

A worker that was killed is soon started again: only its new instance, or its silence, shows it.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from inference.presence import WorkerReport, known_workers
from llamagpu.lib.redis_client import sync_client
from monitoring.alerts.values import Value, ValueKind, register_value
from monitoring.metrics.labels import Key
from monitoring.metrics.reading import Snapshot


class DeathCount:
    """Deaths by name since this process first saw the worker."""

    def __init__(self) -> None:
        self._instances: dict[str, str | None] = {}
        self._deaths: dict[str, int] = {}

    def note(self, workers: Mapping[str, WorkerReport | None]) -> Mapping[str, int]:
        """`workers` by name, None for a silent one. One that has taken its leave is forgotten."""
        for name in self._instances.keys() - workers.keys():
            del self._instances[name], self._deaths[name]
        for name, report in workers.items():
            now = None if report is None else report.instance
            before = self._instances.get(name, now)
            self._deaths.setdefault(name, 0)
            # From silence to a new instance is the same death, not a second one.
            if before is not None and now != before:
                self._deaths[name] += 1
            self._instances[name] = now
        return self._deaths


_count = DeathCount()


def register() -> None:
    register_value(
        Value(
            "worker_deaths",
            "Times that a worker ended without having said so.",
            ("worker",),
            _read,
            ValueKind.COUNT,
        )
    )


def _read(snapshot: Snapshot) -> Mapping[Key, float]:
    deaths = _count.note(known_workers(sync_client(settings.REDIS_URL)))
    return {(name,): float(num) for name, num in deaths.items()}
