"""All families of a process, and what is asked before each flush."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitoring.metrics.families import Family

logger = logging.getLogger(__name__)

#: Sets gauges to what holds now. It runs once a second in the flusher's thread and must not block long.
Source = Callable[[], None]


class Registry:
    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._sources: list[Source] = []
        self._lock = threading.Lock()

    def add(self, family: Family) -> None:
        """Raises ValueError where the name is taken."""
        with self._lock:
            if family.name in self._families:
                raise ValueError(f"there is a metric {family.name} already")
            self._families[family.name] = family

    def remove(self, family: Family) -> None:
        """Forget a family that a plugin has taken with it; what it has counted stays in Redis."""
        with self._lock:
            if self._families.get(family.name) is family:
                del self._families[family.name]

    def families(self) -> list[Family]:
        with self._lock:
            return list(self._families.values())

    def find(self, name: str) -> Family | None:
        return self._families.get(name)

    def add_source(self, source: Source) -> None:
        with self._lock:
            if source not in self._sources:
                self._sources.append(source)

    def remove_source(self, source: Source) -> None:
        with self._lock:
            if source in self._sources:
                self._sources.remove(source)

    def ask_sources(self) -> None:
        """A source that fails is logged: the others and the counters go on."""
        with self._lock:
            sources = list(self._sources)
        for source in sources:
            try:
                source()
            except Exception:
                logger.exception("a source of metrics failed")


#: The families of this process.
REGISTRY = Registry()
