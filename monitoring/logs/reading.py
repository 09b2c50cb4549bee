"""Finds lines in the store: by level, component, request, words and time."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from llamagpu.lib.redis_client import sync_client
from monitoring.logs.store import LogLine, newest_first

LEVELS = ("debug", "info", "warning", "error", "critical")
COMPONENTS = ("web", "worker", "engine", "plugin", "monitor")
DEFAULT_LIMIT, MAX_LIMIT = 200, 1000
_NUMBERS = logging.getLevelNamesMapping()


@dataclass(frozen=True, slots=True)
class LogQuestion:
    """All of it must hold. `level` is the mildest, `after` an id: only newer lines."""

    level: str = "debug"
    component: str = ""
    request_id: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: str = ""
    before: str = ""
    limit: int = DEFAULT_LIMIT


def find_lines(question: LogQuestion) -> list[LogLine]:
    """The newest first. Raises RedisError."""
    found: list[LogLine] = []
    for line in _candidates(question):
        if _fits(line, question):
            found.append(line)
            if len(found) >= question.limit:
                break
    return found


def _candidates(question: LogQuestion) -> Iterator[LogLine]:
    since = f"({question.after}" if question.after else "-"
    if question.since is not None and not question.after:
        since = str(max(0, int(question.since.timestamp() * 1000)))
    before = question.before or "+"
    if question.until is not None and not question.before:
        before = f"{max(0, int(question.until.timestamp() * 1000))}-0"
    return newest_first(sync_client(settings.REDIS_URL), since=since, before=before)


def _fits(line: LogLine, question: LogQuestion) -> bool:
    if _NUMBERS.get(line.level, logging.INFO) < _NUMBERS[question.level.upper()]:
        return False
    if question.component and line.component != question.component:
        return False
    if question.request_id and line.request_id != question.request_id:
        return False
    words = question.text.casefold()
    told = f"{line.message}\n{line.logger}\n{line.exception}\n{line.request_id}"
    return not words or words in told.casefold()
