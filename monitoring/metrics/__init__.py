"""Application metrics: what happens in any process, counted once for the whole installation.

Declare families as constants in an app's `metrics.py` and tell them what happens: a few microseconds
a call, from any thread or event loop. `flusher.py` sends what has changed to Redis once a second, so
that `reading.py` answers for all processes and nodes, those that have died included.
"""

from monitoring.metrics.families import Counter, Family, Gauge, Histogram, Merge
from monitoring.metrics.histograms import LATENCY_BUCKETS, LENGTH_BUCKETS
from monitoring.metrics.registry import REGISTRY, Registry

__all__ = [
    "LATENCY_BUCKETS",
    "LENGTH_BUCKETS",
    "REGISTRY",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "Merge",
    "Registry",
]
