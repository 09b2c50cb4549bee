"""The history as columns: for each series one list of values, a place for each bucket.

A bucket of which nothing is known is null. The end of a span, which is not rolled up yet, is merged here
from shorter buckets. Rows are unpacked and turned into columns without a loop over their figures: seven
days of minutes are twenty thousand rows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from monitoring.history.details import MODEL_SUMS, ModelDetails, percentile_figures
from monitoring.history.figures import CLUSTER_FIGURES, NAN, figures_of, listed, place_of, unpack
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
    kinds = {
        True: [kind for kind in CLUSTER_SERIES if kind.name in wanted],
        False: [kind for kind in NODE_SERIES if kind.name in wanted],
    }
    tables = _of_model(rows, span, model) if model else _tables(rows, span)
    columns = []
    for node, table in sorted(tables.items()):
        if model and node != CLUSTER:
            continue
        columns += _columns(node, table, kinds[node == CLUSTER])
    return columns


def _tables(rows: MetricSampleQuerySet, span: Span) -> dict[str, list[tuple[float, ...]]]:
    """For each node one tuple a bucket: its figures, with the seconds that were watched in front."""
    stored = rows.between(span.step, span.start, span.end).order_by()
    tables: dict[str, list[tuple[float, ...]]] = {}
    empty: dict[str, tuple[float, ...]] = {}
    newest = span.start - span.step
    start, step = span.start, span.step
    for node, at, covered, figures in stored.values_list("node", "start", "covered", "figures"):
        table = tables.get(node)
        if table is None:
            empty[node] = (NAN,) * (len(figures_of(node)) + 1)
            table = tables[node] = [empty[node]] * span.num_buckets
        newest = at if at > newest else newest
        table[(at - start) // step] = _filled((covered, *unpack(figures)), empty[node])
    for sample in _tail(rows, span, newest + span.step):
        blank = (NAN,) * (len(figures_of(sample.node)) + 1)
        table = tables.setdefault(sample.node, [blank] * span.num_buckets)
        table[(sample.start - start) // step] = _filled((sample.covered, *sample.figures), blank)
    return tables


def _filled(row: tuple[float, ...], empty: tuple[float, ...]) -> tuple[float, ...]:
    """An older version's row lacks the last figures."""
    return row if len(row) == len(empty) else (row + empty)[: len(empty)]


def _tail(rows: MetricSampleQuerySet, span: Span, since: int) -> list[Sample]:
    """What is younger than the last bucket of the wanted length, from the longest ones that there are."""
    found: list[Sample] = []
    for resolution in sorted((r for r in RESOLUTIONS if r < span.step), reverse=True):
        part = list(read_samples(rows.between(resolution, since, span.end)))
        found += part
        if part:
            since = max(sample.start for sample in part) + resolution
    return gather(found, span.step)


def _of_model(
    rows: MetricSampleQuerySet, span: Span, model: str
) -> dict[str, list[tuple[float, ...]]]:
    """As `_tables`, with what the details say of one model in the place of everything."""
    table = [(NAN,) * (len(CLUSTER_FIGURES) + 1)] * span.num_buckets
    mine = rows.filter(node=CLUSTER)
    samples = list(read_samples(mine.between(span.step, span.start, span.end)))
    newest = max((sample.start for sample in samples), default=span.start - span.step)
    for sample in [*samples, *_tail(mine, span, newest + span.step)]:
        found = sample.details.models.get(model, ModelDetails())
        figures = {
            **dict(zip(MODEL_SUMS, found.sums, strict=True)),
            **percentile_figures(found.histograms),
        }
        row = (sample.covered, *listed(CLUSTER_FIGURES, figures))
        table[(sample.start - span.start) // span.step] = row
    return {CLUSTER: table}


def _columns(
    node: str, table: Sequence[tuple[float, ...]], kinds: Sequence[SeriesKind]
) -> list[Column]:
    if not kinds:
        return []
    places = {name: place + 1 for name, place in place_of(figures_of(node)).items()}
    places["covered"] = 0
    needed = sorted(
        {places[name] for kind in kinds for name in (kind.figure, kind.per) if name} | {0}
    )
    taken: list[Any] = list(zip(*map(itemgetter(*needed, 0), table), strict=True))
    by_place = dict(zip(needed, taken, strict=False))
    return [
        Column(kind.name, kind.unit, node or None, _values(kind, by_place, places))
        for kind in kinds
    ]


def _values(
    kind: SeriesKind, by_place: dict[int, Sequence[float]], places: dict[str, int]
) -> Sequence[float]:
    values = by_place[places[kind.figure]]
    if not kind.per:
        return values
    divisors = by_place[places[kind.per]]
    return [
        round(value / divisor, 6) if divisor else NAN
        for value, divisor in zip(values, divisors, strict=True)
    ]
