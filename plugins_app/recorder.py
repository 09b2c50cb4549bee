"""What happens to plugins in this worker, for metrics at once and for watchers a little later.

Calls are recorded in the request's own thread: nothing here waits. Faults become one live event for
a plugin every few seconds, without their message: it may quote a prompt.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from monitoring.live_events import PLUGIN_EVENTS, publish
from plugins_app.base import Hook
from plugins_app.link import Outcome
from plugins_app.metrics import CALL_SECONDS, CALLS, RESTARTS
from plugins_app.runners.base import PluginFaultError

#: Seconds between two events of one plugin's faults.
FAULT_PAUSE = 10.0
_MAX_WAITING = 200


class Recorder:
    """Safe to use from many threads; `publish` in one that may wait for Redis."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._lock = threading.Lock()
        self._waiting: deque[tuple[str, Mapping[str, Any]]] = deque(maxlen=_MAX_WAITING)
        self._faults: dict[str, dict[str, int]] = {}
        self._told_at: dict[str, float] = {}

    def record(self, slug: str, hook: Hook, outcome: str, seconds: float) -> None:
        CALLS.inc(plugin=slug, hook=hook.value, outcome=outcome)
        if outcome != Outcome.SKIPPED:
            CALL_SECONDS.observe(seconds, plugin=slug, hook=hook.value)

    def fault(self, slug: str, hook: Hook, error: PluginFaultError) -> None:
        with self._lock:
            kinds = self._faults.setdefault(slug, {})
            kinds[error.kind] = kinds.get(error.kind, 0) + 1

    def breaker(self, slug: str, *, is_open: bool) -> None:
        self.event("breaker_opened" if is_open else "breaker_closed", slug)

    def runner_event(self, slug: str, event: str, words: str) -> None:
        """`died`, `restarted` or `failed`, as a runner says it."""
        if event == "restarted":
            RESTARTS.inc(plugin=slug)
        self.event(f"plugin_{event}", slug, message=words)

    def event(self, kind: str, slug: str, **data: Any) -> None:
        """For watchers; the oldest are lost where too many wait."""
        with self._lock:
            self._waiting.append((kind, {"plugin": slug, "worker": self._worker, **data}))

    def publish(self) -> None:
        """Everything that has waited."""
        now = time.monotonic()
        with self._lock:
            events = list(self._waiting)
            self._waiting.clear()
            due = [
                s for s in self._faults if now - self._told_at.get(s, -FAULT_PAUSE) >= FAULT_PAUSE
            ]
            for slug in due:
                self._told_at[slug] = now
                kinds = self._faults.pop(slug)
                words = {"plugin": slug, "worker": self._worker, "kinds": kinds}
                events.append(("plugin_fault", words | {"count": sum(kinds.values())}))
        for kind, data in events:
            publish(PLUGIN_EVENTS, kind, data)
