"""The requests of one run over our engine's protocol, and when their tokens came."""

from __future__ import annotations

import time
from typing import Any

from inference.benchmark.engines.base import RunFailedError
from inference.benchmark.figures import Trace
from inference.protocol import Delta, Failed, Finished


class Conversation:
    """Begins with its construction: all times are seconds since then."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._sent: dict[str, float] = {}
        self._arrivals: dict[str, list[tuple[float, int]]] = {}
        self._seen: dict[str, int] = {}
        self.traces: list[Trace] = []

    @property
    def num_open(self) -> int:
        return len(self._sent)

    def open(self, request_id: str) -> None:
        self._sent[request_id] = self._now()
        self._arrivals[request_id] = []
        self._seen[request_id] = 0

    def note(self, event: Any) -> bool:
        """Take an event in; whether it ended a request. Raises RunFailedError."""
        if isinstance(event, Failed):
            raise RunFailedError(event.message)
        if isinstance(event, Delta):
            self._count(event.request_id, event.num_tokens)
        if not isinstance(event, Finished):
            return False
        # Text may be held back to the end: the last tokens come with the last word.
        self._count(event.request_id, event.usage.completion_tokens)
        arrivals = tuple(self._arrivals.pop(event.request_id))
        self.traces.append(Trace(self._sent.pop(event.request_id), arrivals))
        return True

    def _count(self, request_id: str, num_tokens: int) -> None:
        news = num_tokens - self._seen[request_id]
        if news > 0:
            self._arrivals[request_id].append((self._now(), news))
            self._seen[request_id] = num_tokens

    def _now(self) -> float:
        return time.perf_counter() - self._started
