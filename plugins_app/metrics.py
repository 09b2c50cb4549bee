"""What plugins do, and what they cost."""

from __future__ import annotations

from monitoring.metrics import LATENCY_BUCKETS, Counter, Gauge, Histogram, Merge

# An in-process call takes microseconds: the usual buckets begin where it has long ended.
_BUCKETS = (
    *(
        float(f"{step}e{decade}")
        for decade in (-6, -5, -4)
        for step in (1, 1.5, 2.2, 3.3, 4.7, 6.8)
    ),
    *(bound for bound in LATENCY_BUCKETS if bound <= 10),
)

CALLS = Counter(
    "plugin_calls_total",
    "Calls of plugins' hooks, by outcome: ok, refused, skipped, or kind of fault.",
    ("plugin", "hook", "outcome"),
)
CALL_SECONDS = Histogram(
    "plugin_call_seconds", "How long a hook took.", ("plugin", "hook"), _BUCKETS
)
OBSERVATIONS_DROPPED = Counter(
    "plugin_observations_dropped_total", "Ends of requests that observers were not told of."
)
RESTARTS = Counter("plugin_restarts_total", "Hosts of plugins started again.", ("plugin",))
RESIDENT_BYTES = Gauge("plugin_resident_bytes", "Memory of plugins' hosts.", ("plugin",))
BREAKER_OPEN = Gauge(
    "plugin_breaker_open",
    "1 where a plugin is left out because it keeps failing.",
    ("plugin",),
    merge=Merge.MAX,
)
