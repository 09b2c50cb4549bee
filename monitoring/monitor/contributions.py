"""What apps above tell the monitor of themselves: it names none of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """One model now: requests that its engines run and hold waiting, share of their caches in use."""

    running: int = 0
    waiting: int = 0
    engines: int = 0
    kv_cache_usage: float | None = None


@dataclass(frozen=True, slots=True)
class ServiceLoad:
    """What is served now. `queued` are requests that no worker has picked up, `active` those that
    workers look after."""

    workers: int = 0
    active: int = 0
    queued: int = 0
    models: Mapping[str, ModelLoad] = field(default_factory=dict)


#: Reads the load now. Raises RedisError.
LoadReader = Callable[[], ServiceLoad]

_reader: LoadReader = ServiceLoad


def register_load(reader: LoadReader) -> None:
    """The app that serves says how busy it is."""
    global _reader
    _reader = reader


def read_load() -> ServiceLoad:
    """Raises RedisError."""
    return _reader()
