"""Samples for tests."""

from __future__ import annotations

from collections.abc import Sequence

from monitoring.history.details import Details, ModelDetails, percentile_figures
from monitoring.history.figures import CLUSTER_FIGURES, NODE_FIGURES, listed, place_of
from monitoring.history.samples import CLUSTER, Sample
from monitoring.metrics.histograms import LATENCY_BUCKETS, observed

#: A full hour, and no border of a longer bucket that tests would meet by chance.
T0 = 1_800_000_000 - 1_800_000_000 % 3600


def node_at(start: int, cpu: float, *, node: str = "a", covered: float = 1.0) -> Sample:
    figures = listed(NODE_FIGURES, {"cpu_usage": cpu, "cpu_usage_max": cpu})
    return Sample(node, 1, start, covered, figures)


def cluster_at(
    start: int, requests: int, latencies: Sequence[float] = (), model: str = "m"
) -> Sample:
    histograms = {"latency": observed(latencies, LATENCY_BUCKETS)} if latencies else {}
    sums = (float(requests), 0.0, 10.0 * requests, 20.0 * requests)
    details = Details({model: ModelDetails(sums, histograms)})
    figures = {
        "requests": requests,
        "errors": 0,
        "generation_tokens": 20 * requests,
        "workers": 1,
        **percentile_figures(histograms),
    }
    return Sample(CLUSTER, 1, start, 1.0, listed(CLUSTER_FIGURES, figures), details)


def figure(sample: Sample, name: str) -> float:
    figures = NODE_FIGURES if sample.node else CLUSTER_FIGURES
    return sample.figures[place_of(figures)[name]]
