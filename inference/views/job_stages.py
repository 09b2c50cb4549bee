"""A job's timeline as a page draws it: bars on one scale, and words for each stage."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.translation import gettext, gettext_noop

from inference.job_timeline import TimelineEvent, timeline_of
from inference.models import InferenceJob

_TITLES = {
    "admission": gettext_noop("Admission"),
    "limits": gettext_noop("Limits"),
    "queue": gettext_noop("In the queue"),
    "attempt": gettext_noop("Attempt"),
    "plugins_before": gettext_noop("Plugins, before"),
    "load": gettext_noop("Waiting for the model"),
    "engine_queue": gettext_noop("In the engine's queue"),
    "prefill": gettext_noop("Prefill"),
    "decode": gettext_noop("Decode"),
    "plugins_after": gettext_noop("Plugins, after"),
    "end": gettext_noop("End"),
    "retention": gettext_noop("Retention"),
}
_TIMELESS = ("end", "retention")


@dataclass(frozen=True, slots=True)
class Stage:
    """`left` and `width` are percent of the whole; None: nothing to draw. `facts` are name and value."""

    title: str
    at: datetime | None
    duration: float | None
    left: float | None
    width: float | None
    facts: tuple[tuple[str, Any], ...]


def stages_of(job: InferenceJob) -> list[Stage]:
    events = timeline_of(job)
    moments = [event.at for event in events if event.at and event.stage not in _TIMELESS]
    ends = [event.at for event in events if event.at and event.stage == "end"]
    begin = min(moments, default=None)
    whole = (max([*moments, *ends]) - begin).total_seconds() if begin else 0.0
    return [_stage(event, begin, whole) for event in events]


def _stage(event: TimelineEvent, begin: datetime | None, whole: float) -> Stage:
    left = width = None
    is_drawn = event.stage not in _TIMELESS and event.at and begin and event.duration is not None
    if is_drawn and whole > 0:
        left = 100 * (event.at - begin).total_seconds() / whole  # type: ignore[operator]
        left = min(99.0, max(0.0, left))
        width = min(100.0 - left, max(0.6, 100 * (event.duration or 0.0) / whole))
    title = _TITLES[event.stage]
    return Stage(title, event.at, event.duration, left, width, tuple(_facts(event.details)))


def _facts(details: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in details.items():
        if value is None or value == [] or value == {}:
            continue
        yield name.replace("_", " "), in_words(value)


def in_words(value: Any) -> Any:
    """A value as people read it: no brackets, no more digits than count."""
    if isinstance(value, dict):
        return ", ".join(f"{part}: {what}" for part, what in value.items())
    if isinstance(value, list):
        return ", ".join(_item(item) for item in value)
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    if isinstance(value, float):
        return int(value) if value.is_integer() else round(value, 4)
    return value


def _item(item: Any) -> str:
    if isinstance(item, dict):
        return " ".join(str(value) for value in item.values())
    return str(item)
