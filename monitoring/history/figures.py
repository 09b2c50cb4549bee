"""Which figures a row of the history holds, how they are packed, and how rows become one.

A row's figures are numbers in the order of `NODE_FIGURES` or `CLUSTER_FIGURES`, so the order is for ever:
new ones come at the end, and an older row simply lacks them. What was not measured is NaN inside, null
outside.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Merge(StrEnum):
    """How a figure of several samples becomes one."""

    MEAN = "mean"
    MAX = "max"
    MIN = "min"
    SUM = "sum"
    #: A percentile: found again in the merged histogram, never from other percentiles.
    DERIVED = "derived"


@dataclass(frozen=True, slots=True)
class Figure:
    name: str
    unit: str
    merge: Merge = Merge.MEAN


def _with_peak(name: str, unit: str) -> tuple[Figure, Figure]:
    return Figure(name, unit), Figure(f"{name}_max", unit, Merge.MAX)


#: Parts of the installation whose processes are told apart.
ROLES = ("web", "worker", "engine", "plugin_host", "valkey", "monitor")
#: Histograms of a row: name here -> family of the metrics.
HISTOGRAMS = {
    "latency": "e2e_request_latency_seconds",
    "ttft": "time_to_first_token_seconds",
    "inter_token": "inter_token_latency_seconds",
    "queue_time": "request_queue_time_seconds",
}
PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

NODE_FIGURES: tuple[Figure, ...] = (
    *_with_peak("cpu_usage", "percent"),
    Figure("load", "processes"),
    *_with_peak("memory_usage", "percent"),
    Figure("memory_used", "bytes"),
    Figure("swap_used", "bytes"),
    Figure("disk_usage", "percent"),
    Figure("disk_used", "bytes"),
    Figure("disk_read_bytes", "bytes/s"),
    Figure("disk_write_bytes", "bytes/s"),
    Figure("network_received_bytes", "bytes/s"),
    Figure("network_sent_bytes", "bytes/s"),
    *_with_peak("gpu_usage", "percent"),
    *_with_peak("gpu_memory", "percent"),
    Figure("gpu_temperature_max", "celsius", Merge.MAX),
    Figure("gpu_power", "watts"),
    Figure("container_cpu_usage", "percent"),
    Figure("container_memory_usage", "percent"),
    *(Figure(f"{role}_cpu", "percent") for role in ROLES),
    *(Figure(f"{role}_rss", "bytes") for role in ROLES),
)
CLUSTER_FIGURES: tuple[Figure, ...] = (
    Figure("requests", "requests", Merge.SUM),
    Figure("errors", "requests", Merge.SUM),
    Figure("prompt_tokens", "tokens", Merge.SUM),
    Figure("generation_tokens", "tokens", Merge.SUM),
    *_with_peak("active_requests", "requests"),
    *_with_peak("running", "requests"),
    *_with_peak("waiting", "requests"),
    *_with_peak("queued", "requests"),
    Figure("workers", "workers", Merge.MIN),
    Figure("engines", "engines"),
    *_with_peak("kv_cache_usage", "percent"),
    Figure("http_requests", "requests", Merge.SUM),
    Figure("http_errors", "requests", Merge.SUM),
    *(
        Figure(f"{name}_{percentile}", "seconds", Merge.DERIVED)
        for name in HISTOGRAMS
        for percentile in PERCENTILES
    ),
)
NAN = math.nan
# Behind the point: microseconds, and far less than anybody measures of anything else.
_DIGITS = 6


def figures_of(node: str) -> tuple[Figure, ...]:
    """Those of a machine, or of the cluster as a whole, whose node has no name."""
    return NODE_FIGURES if node else CLUSTER_FIGURES


def place_of(figures: Sequence[Figure]) -> Mapping[str, int]:
    return {figure.name: place for place, figure in enumerate(figures)}


def pack(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}d", *values)


def unpack(data: bytes | memoryview) -> tuple[float, ...]:
    """As many as there are: an older version's row has fewer."""
    return struct.unpack(f"<{len(data) // 8}d", data)


def listed(figures: Sequence[Figure], values: Mapping[str, float | None]) -> list[float]:
    """The named values in their order. A name that is no figure is a mistake of the caller."""
    row = [NAN] * len(figures)
    places = place_of(figures)
    for name, value in values.items():
        if value is not None:
            row[places[name]] = value
    return row


def merge_figures(
    figures: Sequence[Figure], rows: Sequence[Sequence[float]], weights: Sequence[float]
) -> list[float]:
    """One row of several, oldest first; `weights` are the seconds that each of them covers."""
    merged = []
    for place, figure in enumerate(figures):
        known = [
            (row[place], weight)
            for row, weight in zip(rows, weights, strict=True)
            if place < len(row) and not math.isnan(row[place])
        ]
        merged.append(round(_MERGERS[figure.merge](known), _DIGITS) if known else NAN)
    return merged


def _mean(known: Sequence[tuple[float, float]]) -> float:
    total = math.fsum(weight for _, weight in known)
    if total <= 0:
        return NAN
    return math.fsum(value * weight for value, weight in known) / total


_MERGERS: dict[Merge, Callable[[Sequence[tuple[float, float]]], float]] = {
    Merge.MEAN: _mean,
    Merge.MAX: lambda known: max(value for value, _ in known),
    Merge.MIN: lambda known: min(value for value, _ in known),
    Merge.SUM: lambda known: math.fsum(value for value, _ in known),
    Merge.DERIVED: lambda known: NAN,
}
