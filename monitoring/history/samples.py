"""One stretch of time of one node, or of the cluster, as it is kept; and several of them as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from monitoring.history.details import Details, merge_details, percentile_figures
from monitoring.history.figures import CLUSTER_FIGURES, figures_of, merge_figures, place_of

#: The node that stands for the installation as a whole.
CLUSTER = ""
#: Seconds of a bucket, each made of the one before.
RESOLUTIONS = (1, 60, 300, 900, 3600)

_CLUSTER_PLACES = place_of(CLUSTER_FIGURES)


@dataclass(frozen=True, slots=True)
class Sample:
    """A bucket that begins at `start` (Unix seconds). `covered` are the seconds of it that were
    watched: less than its length where the monitor was away, and then nothing is made up."""

    node: str
    resolution: int
    start: int
    covered: float
    figures: Sequence[float]
    details: Details = field(default_factory=Details)


def bucket_of(unix: float, resolution: int) -> int:
    return int(unix // resolution) * resolution


def merge_samples(samples: Sequence[Sample], resolution: int, start: int) -> Sample:
    """One sample of several of one node; the order of their times, not of their coming, counts."""
    ordered = sorted(samples, key=lambda sample: sample.start)
    node = ordered[0].node
    weights = [sample.covered for sample in ordered]
    figures = merge_figures(figures_of(node), [sample.figures for sample in ordered], weights)
    details = merge_details([sample.details for sample in ordered])
    if node == CLUSTER:
        for name, value in percentile_figures(details.histograms()).items():
            if value is not None:
                figures[_CLUSTER_PLACES[name]] = value
    covered = min(float(resolution), sum(weights)) if resolution > 1 else sum(weights)
    return Sample(node, resolution, start, covered, figures, details)


def gather(samples: Iterable[Sample], resolution: int) -> list[Sample]:
    """All of them in buckets of `resolution` seconds, one sample for each node and bucket."""
    grouped: dict[tuple[str, int], list[Sample]] = defaultdict(list)
    for sample in samples:
        grouped[sample.node, bucket_of(sample.start, resolution)].append(sample)
    return [
        members[0]
        if len(members) == 1 and members[0].resolution == resolution
        else merge_samples(members, resolution, start)
        for (_, start), members in sorted(grouped.items())
    ]
