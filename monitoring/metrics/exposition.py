"""The snapshot in Prometheus's words: text or OpenMetrics, as the scraper asks."""

from __future__ import annotations

from collections import Counter as CountOf
from collections.abc import Iterator
from itertools import accumulate

import redis
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry

from llamagpu.lib.version import VERSION
from monitoring.metrics.families import Kind
from monitoring.metrics.histograms import HistogramValue
from monitoring.metrics.reading import Snapshot, snapshot
from monitoring.metrics.storage import FamilyInfo

PREFIX = "llamagpu_"


def expose(accept: str) -> tuple[bytes, str]:
    """The body for an `Accept` header, and its content type. Redis away is told, not raised."""
    encode, content_type = choose_encoder(accept)
    return encode(PortalCollector()), content_type


class PortalCollector(Collector):
    """All families that any process has declared, those without a series too."""

    def collect(self) -> Iterator[Metric]:
        yield _build_info()
        yield from _process.collect()
        try:
            found = snapshot()
        except redis.RedisError:
            yield _redis_up(False)
            return
        yield _redis_up(True)
        yield _processes(found)
        for name in sorted(found.families):
            yield _family(found.families[name], found)


#: Of the process that answers, under the names that every Prometheus client has.
_process = ProcessCollector(registry=CollectorRegistry())


def _build_info() -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}build_info", "Always 1.", labels=["version"])
    family.add_metric([VERSION], 1)
    return family


def _redis_up(is_up: bool) -> Metric:
    return GaugeMetricFamily(
        f"{PREFIX}redis_up",
        "1 where Redis answers. Where it does not, there is nothing else to tell.",
        value=float(is_up),
    )


def _processes(found: Snapshot) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}processes", "Processes that have told their figures lately.", labels=["role"]
    )
    for role, count in sorted(CountOf(process.role for process in found.processes).items()):
        family.add_metric([role], count)
    return family


def _family(info: FamilyInfo, found: Snapshot) -> Metric:
    name = PREFIX + info.name
    if info.kind is Kind.COUNTER:
        counter = CounterMetricFamily(name, info.help, labels=info.labels)
        # What has no labels is there from the beginning: its rate can be asked for.
        nothing = {} if info.labels else {(): 0.0}
        for key, value in sorted((found.counters.get(info.name) or nothing).items()):
            counter.add_metric(key, value)
        return counter
    if info.kind is Kind.GAUGE:
        gauge = GaugeMetricFamily(name, info.help, labels=info.labels)
        for key, value in sorted(found.gauges.get(info.name, {}).items()):
            gauge.add_metric(key, value)
        return gauge
    histogram = HistogramMetricFamily(name, info.help, labels=info.labels)
    for key, spread in sorted(found.histograms.get(info.name, {}).items()):
        histogram.add_metric(key, _buckets(spread), sum_value=spread.total)
    return histogram


def _buckets(spread: HistogramValue) -> list[tuple[str, float]]:
    bounds = [*map(repr, spread.bounds), "+Inf"]
    return list(zip(bounds, accumulate(map(float, spread.counts)), strict=True))
