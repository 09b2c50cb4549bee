"""The history as columns: for each series one list of values, a place for each bucket.

A bucket of which nothing is known is null. The end of a span, which is not rolled up yet, is merged here
from shorter buckets. Seven days of minutes are twenty thousand rows: the packed figures of all of them are
joined and read as one array, a column of which is a slice.
"""

from __future__ import annotations

import sys
import time
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from monitoring.history.details import MODEL_SUMS, ModelDetails, percentile_figures
from monitoring.history.figures import CLUSTER_FIGURES, NAN, figures_of, listed, pack, place_of
from monitoring.history.rows import read_samples
from monitoring.history.samples import CLUSTER, RESOLUTIONS, Sample, bucket_of, gather
from monitoring.history.series import CLUSTER_SERIES, NODE_SERIES, SeriesKind
from monitoring.metric_querysets import MetricSampleQuerySet

#: Spans and lengths that can be asked for, in seconds.
TIMEFRAMES = {"1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800}
GRANULARITIES = {"1m": 60, "5m": 300, "15m": 900, "1h": 3600}
#: What a span is shown in where nobody says otherwise: about a hundred buckets.
USUAL_GRANULARITY = {"1h": "1m", "6h": "5m", "24h": "15m", "7d": "1h"}


@dataclass(frozen=True, slots=True)
class Span:
    """Buckets of `step` seconds from `start` up to before `end`; the last one may still be open."""

    start: int
    end: int
    step: int

    @property
    def num_buckets(self) -> int:
        return (self.end - self.start) // self.step


@dataclass(frozen=True, slots=True)
class Column:
    """One series; NaN where nothing is known. `node` is None for the installation as a whole."""

    name: str
    unit: str
    node: str | None
    values: Sequence[float]


def span_of(timeframe: str, granularity: str, now: float | None = None) -> Span:
    step = GRANULARITIES[granularity]
    end = bucket_of(time.time() if now is None else now, step) + step
    return Span(end - TIMEFRAMES[timeframe], end, step)


def read_columns(
    rows: MetricSampleQuerySet, span: Span, names: Iterable[str], model: str | None = None
) -> list[Column]:
    """The named series of all nodes in `rows`, in the order of their declaration.

    `model` narrows the installation's series to one model's.
    """
    wanted = frozenset(names)
    of_cluster = [kind for kind in CLUSTER_SERIES if kind.name in wanted]
    of_nodes = [kind for kind in NODE_SERIES if kind.name in wanted]
    if model or not of_nodes:
        rows = rows.filter(node=CLUSTER)
    elif not of_cluster:
        rows = rows.exclude(node=CLUSTER)
    tables = _of_model(rows, span, model) if model else _tables(rows, span)
    return [
        column
        for node, table in sorted(tables.items())
        for column in table.columns(node, of_nodes if node else of_cluster)
    ]


class _Table:
    """Of one node: for each bucket its packed figures, and the seconds that were watched."""

    def __init__(self, node: str, span: Span) -> None:
        self._places = place_of(figures_of(node))
        self._span = span
        self._blank = pack([NAN] * len(self._places))
        self._packed: list[bytes | memoryview] = [self._blank] * span.num_buckets
        self._covered = [NAN] * span.num_buckets

    def put(self, start: int, covered: float, figures: bytes | memoryview) -> None:
        place = (start - self._span.start) // self._span.step
        self._covered[place] = covered
        if len(figures) == len(self._blank):
            self._packed[place] = figures
        else:  # an older version's row lacks the last figures
            self._packed[place] = (bytes(figures) + self._blank[len(figures) :])[: len(self._blank)]

    def columns(self, node: str, kinds: Sequence[SeriesKind]) -> list[Column]:
        if not kinds:
            return []
        values = array("d", b"".join(self._packed))
        if sys.byteorder != "little":
            values.byteswap()
        width = len(self._places)
        taken: dict[str, Sequence[float]] = {"covered": self._covered}
        for name in {name for kind in kinds for name in (kind.figure, kind.per)} - {"covered", ""}:
            taken[name] = values[self._places[name] :: width].tolist()
        return [Column(kind.name, kind.unit, node or None, _values(kind, taken)) for kind in kinds]


def _tables(rows: MetricSampleQuerySet, span: Span) -> dict[str, _Table]:
    tables: dict[str, _Table] = {}
    newest = span.start - span.step
    stored = rows.between(span.step, span.start, span.end).order_by()
    for node, start, covered, figures in stored.values_list("node", "start", "covered", "figures"):
        table = tables.get(node)
        if table is None:
            table = tables[node] = _Table(node, span)
        table.put(start, covered, figures)
        if start > newest:
            newest = start
    for sample in _tail(rows, span, newest + span.step):
        table = tables.setdefault(sample.node, _Table(sample.node, span))
        table.put(sample.start, sample.covered, pack(sample.figures))
    return tables


def _tail(rows: MetricSampleQuerySet, span: Span, since: int) -> list[Sample]:
    """What is younger than the last bucket of the wanted length, from the longest ones that there are."""
    found: list[Sample] = []
    for resolution in sorted((r for r in RESOLUTIONS if r < span.step), reverse=True):
        part = list(read_samples(rows.between(resolution, since, span.end)))
        found += part
        if part:
            since = max(sample.start for sample in part) + resolution
    return gather(found, span.step)


def recent_samples(rows: MetricSampleQuerySet, span: Span) -> list[Sample]:
    """Those of the span, the end that is not rolled up yet included."""
    samples = list(read_samples(rows.between(span.step, span.start, span.end)))
    newest = max((sample.start for sample in samples), default=span.start - span.step)
    return [*samples, *_tail(rows, span, newest + span.step)]


def _of_model(rows: MetricSampleQuerySet, span: Span, model: str) -> dict[str, _Table]:
    """With what the details say of one model in the place of everything; nothing for an unknown one."""
    table, is_known = _Table(CLUSTER, span), False
    for sample in recent_samples(rows, span):
        is_known = is_known or model in sample.details.models
        found = sample.details.models.get(model, ModelDetails())
        figures = {
            **dict(zip(MODEL_SUMS, found.sums, strict=True)),
            **percentile_figures(found.histograms),
        }
        table.put(sample.start, sample.covered, pack(listed(CLUSTER_FIGURES, figures)))
    return {CLUSTER: table} if is_known else {}


def _values(kind: SeriesKind, taken: Mapping[str, Sequence[float]]) -> Sequence[float]:
    values = taken[kind.figure]
    if not kind.per:
        return values
    return [
        value / divisor if divisor else NAN
        for value, divisor in zip(values, taken[kind.per], strict=True)
    ]
