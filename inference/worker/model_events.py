"""Tells whoever watches what becomes of this worker's engines: loading, ready, failed, unloaded."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.db import Error, connections

from inference.model_control import note_eviction
from inference.presence import EngineReport
from inference.states import ModelState
from inference.worker.eviction import Eviction
from monitoring.live_events import MODEL_EVENTS, publish

logger = logging.getLogger(__name__)

Publish = Callable[[str, str, dict[str, Any]], None]


class ModelEvents:
    """Compares each report with the one before and publishes what has changed."""

    def __init__(self, worker: str, publish: Publish = publish) -> None:
        self._worker = worker
        self._publish = publish
        self._before: dict[str, EngineReport] = {}

    def note(self, reports: Iterable[EngineReport]) -> None:
        now = {report.model: report for report in reports}
        for slug, report in now.items():
            before = self._before.get(slug)
            if before is None or _shown(before) != _shown(report):
                self._tell(f"model_{report.state}", report)
        for slug in self._before.keys() - now.keys():
            self._publish(MODEL_EVENTS, "model_unloaded", {"model": slug, "worker": self._worker})
        self._before = now

    def _tell(self, event_type: str, report: EngineReport) -> None:
        data: dict[str, Any] = {"model": report.model, "worker": self._worker}
        if report.state is ModelState.LOADING:
            data |= {"stage": report.stage, "fraction": report.progress}
        elif report.state is ModelState.FAILED:
            data["error"] = report.error
        elif report.state is ModelState.READY:
            data |= {"backend": report.backend, "memory": report.resident_bytes}
        self._publish(MODEL_EVENTS, event_type, data)


def tell_eviction(eviction: Eviction, publish: Publish = publish) -> None:
    """Write down that an engine goes for want of memory, and publish it."""
    publish(
        MODEL_EVENTS,
        "model_evicted",
        {
            "model": eviction.slug,
            "idle_for": round(eviction.idle_for),
            "made_room_for": eviction.made_room_for,
        },
    )
    try:
        note_eviction(
            slug=eviction.slug,
            generation=eviction.generation,
            idle_for=eviction.idle_for,
            made_room_for=eviction.made_room_for,
        )
    except Error as error:
        logger.warning("the eviction of '%s' was not written down: %s", eviction.slug, error)
    finally:
        connections.close_all()


def _shown(report: EngineReport) -> tuple[Any, ...]:
    """What makes an event when it changes; memory and counts do so all the time."""
    if report.state is ModelState.LOADING:
        return (report.state, report.stage, round(report.progress, 2))
    return (report.state, report.error, report.pid)
