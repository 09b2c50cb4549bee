"""Which series can be asked for, and how each is found in a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from monitoring.history.figures import CLUSTER_FIGURES, NODE_FIGURES, Figure, Merge


@dataclass(frozen=True, slots=True)
class SeriesKind:
    """`per` divides the figure: `covered` by the seconds that were watched, else by another figure."""

    name: str
    unit: str
    figure: str
    per: str = ""


def _plain(figures: Sequence[Figure]) -> tuple[SeriesKind, ...]:
    return tuple(SeriesKind(figure.name, figure.unit, figure.name) for figure in figures)


def _rates(figures: Sequence[Figure]) -> tuple[SeriesKind, ...]:
    return tuple(
        SeriesKind(f"{figure.name}_per_second", f"{figure.unit}/s", figure.name, "covered")
        for figure in figures
        if figure.merge is Merge.SUM
    )


#: Of each machine.
NODE_SERIES = _plain(NODE_FIGURES)
#: Of the installation as a whole.
CLUSTER_SERIES = (
    *_plain(CLUSTER_FIGURES),
    *_rates(CLUSTER_FIGURES),
    SeriesKind("error_rate", "share", "errors", "requests"),
)
SERIES = {kind.name: kind for kind in (*NODE_SERIES, *CLUSTER_SERIES)}
#: What an answer holds where nobody asks for certain ones.
USUAL = (
    "cpu_usage",
    "memory_usage",
    "gpu_usage",
    "gpu_memory",
    "disk_usage",
    "network_received_bytes",
    "network_sent_bytes",
    "active_requests",
    "waiting",
    "requests_per_second",
    "generation_tokens_per_second",
    "error_rate",
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "ttft_p50",
    "ttft_p95",
    "ttft_p99",
)
EVERY = "all"
