"""What plugins do, and what they cost."""

from __future__ import annotations

from monitoring.metrics import Counter, Gauge, Histogram, Merge

CALLS = Counter(
    "plugin_calls_total", "Calls of plugins' hooks, by outcome.", ("plugin", "hook", "outcome")
)
CALL_SECONDS = Histogram("plugin_call_seconds", "How long a hook took.", ("plugin", "hook"))
RESTARTS = Counter("plugin_restarts_total", "Hosts of plugins started again.", ("plugin",))
RESIDENT_BYTES = Gauge("plugin_resident_bytes", "Memory of plugins' hosts.", ("plugin",))
BREAKER_OPEN = Gauge(
    "plugin_breaker_open",
    "1 where a plugin is left out because it keeps failing.",
    ("plugin",),
    merge=Merge.MAX,
)
