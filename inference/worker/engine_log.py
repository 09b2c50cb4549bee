"""What an engine logs, line by line into the worker's log, with the HTTP request that it is about.

An engine writes JSON lines; whatever else a library prints is a line of its own. Reading goes on
whatever comes: a full pipe would stop the engine.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Callable
from typing import IO, Any

logger = logging.getLogger("inference.engine")

_LONGEST_LINE = 64 * 1024
_LEVELS = logging.getLevelNamesMapping()
# An attempt at a job, as the worker names it to its engine.
_ATTEMPT = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.\d+\b")


class EngineLog:
    """`origin_of` tells the HTTP request's id for the name of an attempt, or an empty text."""

    def __init__(self, slug: str, pid: int, origin_of: Callable[[str], str]) -> None:
        self._slug = slug
        self._pid = pid
        self._origin_of = origin_of

    def follow(self, pipe: IO[bytes]) -> None:
        """In a thread of its own, until the last writer has closed the pipe."""
        name = f"log of {self._slug}"
        threading.Thread(target=self._pump, args=(pipe,), name=name, daemon=True).start()

    def take(self, line: bytes) -> None:
        """One line becomes one record."""
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            return
        fields = _fields_of(text)
        level = _LEVELS.get(str(fields.get("level", "INFO")), logging.INFO)
        if not logger.isEnabledFor(level):
            return
        message = str(fields.get("message", text))
        attempt = _ATTEMPT.search(message)
        record = logging.makeLogRecord(
            {
                "name": f"{fields.get('logger', 'engine')}[{self._slug}]",
                "levelno": level,
                "levelname": logging.getLevelName(level),
                "msg": message,
                "args": None,
                "process": self._pid,
                "component": "engine",
                "request_id": self._origin_of(attempt[0]) if attempt else "",
                "exc_text": str(fields["exception"]) if fields.get("exception") else None,
            }
        )
        logger.handle(record)

    def _pump(self, pipe: IO[bytes]) -> None:
        with pipe:
            while line := pipe.readline(_LONGEST_LINE):
                try:
                    self.take(line)
                except Exception:
                    logger.exception("a line of an engine could not be logged")


def _fields_of(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "message" in found else {}
