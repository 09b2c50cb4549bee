"""How metrics lie in Redis: shared counts, what each process says of itself, what the names mean.

- `COUNTS`, a hash that only grows: `name<US>label values...` for a counter; a histogram has such a field
  for each bucket that is not empty, with its upper bound after the labels, and one for its `sum`.
- `GAUGES + process`, a JSON value that expires: `ProcessGauges`.
- `PROCESSES`, a sorted set: when each process was last heard of.
- `FAMILIES`, a hash: `FamilyInfo` by name, so that whoever reads needs no code of whoever counts.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from monitoring.metrics.families import Counter, Family, Gauge, Histogram, Kind, Merge
from monitoring.metrics.labels import Key

COUNTS = "lg:metrics:counts"
GAUGES = "lg:metrics:gauges:"
PROCESSES = "lg:metrics:processes"
FAMILIES = "lg:metrics:families"
#: Which batch of a process was written last: one whose answer was lost is not written twice.
BATCHES = "lg:metrics:batch:"

#: Seconds after which a process that says nothing has no gauges any more.
GAUGE_LIFETIME = 6
#: Fields beyond which the counts begin anew: names of models come and go, for years.
MAX_FIELDS = 100_000

SUM = "sum"
INFINITY = "inf"
_SEPARATOR = "\x1f"  # no label value has it


class FamilyInfo(msgspec.Struct, frozen=True):
    """What a family is, without its values."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    merge: Merge | None = None
    buckets: tuple[float, ...] = ()


class GaugeValue(msgspec.Struct, frozen=True, array_like=True):
    name: str
    key: Key
    value: float
    set_at: float


class ProcessGauges(msgspec.Struct, frozen=True):
    """All gauges of one process; `role` is web, worker or monitor, `node` its machine."""

    process: str
    role: str
    node: str
    pid: int
    started_at: float
    flushed_at: float
    values: list[GaugeValue]


class CountField(msgspec.Struct, frozen=True):
    """One field of the counts; `part` is a bucket's upper bound or `SUM`, None for a counter."""

    name: str
    key: Key
    part: float | Literal["sum"] | None


def describe(family: Family) -> FamilyInfo:
    return FamilyInfo(
        name=family.name,
        kind=family.kind,
        help=family.help,
        labels=family.labels,
        merge=family.merge if isinstance(family, Gauge) else None,
        buckets=family.buckets if isinstance(family, Histogram) else (),
    )


def changes_of(family: Family) -> dict[str, float]:
    """What has been counted since the last time, by field. Counts of buckets are integers."""
    changes: dict[str, float] = {}
    if isinstance(family, Counter):
        for key, amount in family.take().items():
            changes[_join(family.name, *key)] = float(amount)
    elif isinstance(family, Histogram):
        bounds = [*map(repr, family.buckets), INFINITY]
        for key, (*counts, total) in family.take().items():
            start = _join(family.name, *key)
            for bound, count in zip(bounds, counts, strict=True):
                if count:
                    changes[_join(start, bound)] = int(count)
            changes[_join(start, SUM)] = float(total)
    return changes


def read_field(field: str, info: FamilyInfo) -> CountField | None:
    """None for a field that this declaration cannot have: an older version has left it."""
    name, *parts = field.split(_SEPARATOR)
    num_labels = len(info.labels)
    key, rest = tuple(parts[:num_labels]), parts[num_labels:]
    if info.kind is Kind.COUNTER:
        return CountField(name, key, None) if len(parts) == num_labels else None
    if info.kind is not Kind.HISTOGRAM or len(rest) != 1:
        return None
    if rest[0] == SUM:
        return CountField(name, key, "sum")
    try:
        return CountField(name, key, float(rest[0]))
    except ValueError:
        return None


def name_of(field: str) -> str:
    return field.split(_SEPARATOR, 1)[0]


def _join(*parts: str) -> str:
    return _SEPARATOR.join(parts)
