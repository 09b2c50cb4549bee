"""A history as it is after a year of one busy machine: what `manage.py bench_history` measures."""

from __future__ import annotations

import random
from collections.abc import Iterator

from monitoring.history.details import Details, ModelDetails, percentile_figures
from monitoring.history.figures import CLUSTER_FIGURES, HISTOGRAMS, NODE_FIGURES, Merge, listed
from monitoring.history.samples import CLUSTER, RESOLUTIONS, Sample, bucket_of
from monitoring.metrics.histograms import LATENCY_BUCKETS, HistogramValue
from monitoring.services.history import kept_from

NODE = "bench"
# Buckets of a histogram in which something lies, in a busy hour.
_SPREAD = 14


def year_of_samples(now: float, num_models: int, seed: int = 1) -> Iterator[Sample]:
    """All rows that retention leaves of a year, of one machine and of the installation."""
    chance = random.Random(seed)  # noqa: S311 - numbers to measure with
    for resolution in RESOLUTIONS:
        first = max(kept_from(resolution, now), bucket_of(now - 366 * 86_400, resolution))
        for start in range(first, bucket_of(now, resolution), resolution):
            yield _of_node(start, resolution, chance)
            yield _of_cluster(start, resolution, num_models, chance)


def _of_node(start: int, resolution: int, chance: random.Random) -> Sample:
    figures = {figure.name: chance.uniform(0, 2**36) for figure in NODE_FIGURES}
    return Sample(NODE, resolution, start, float(resolution), listed(NODE_FIGURES, figures))


def _of_cluster(start: int, resolution: int, num_models: int, chance: random.Random) -> Sample:
    models = {
        f"model-{number}": ModelDetails(
            tuple(float(chance.randrange(resolution * 500)) for _ in range(4)),
            {name: _histogram(resolution, chance) for name in HISTOGRAMS},
        )
        for number in range(num_models)
    }
    details = Details(models, {"DEADLINE_EXCEEDED": float(chance.randrange(9))})
    figures: dict[str, float | None] = {
        figure.name: chance.uniform(0, 10**5)
        for figure in CLUSTER_FIGURES
        if figure.merge is not Merge.DERIVED
    }
    figures |= percentile_figures(details.histograms())
    return Sample(
        CLUSTER, resolution, start, float(resolution), listed(CLUSTER_FIGURES, figures), details
    )


def _histogram(resolution: int, chance: random.Random) -> HistogramValue:
    counts = [0] * (len(LATENCY_BUCKETS) + 1)
    first = chance.randrange(len(counts) - _SPREAD)
    for place in range(first, first + _SPREAD):
        counts[place] = chance.randrange(1, resolution * 5 + 2)
    return HistogramValue(LATENCY_BUCKETS, tuple(counts), chance.uniform(0, 1e6))
