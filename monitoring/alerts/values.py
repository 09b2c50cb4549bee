"""What a rule can watch: every metric family by its name, and figures that are worked out.

An app above adds a figure in its `ready()`:
`register_value(Value("quota_used_ratio", "…", ("limit", "user_id"), read, every=60))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from monitoring.health import check_health, check_parts
from monitoring.metrics import REGISTRY
from monitoring.metrics.families import Kind
from monitoring.metrics.labels import Key
from monitoring.metrics.reading import Snapshot
from monitoring.monitor import node_metrics  # noqa: F401  declares what monitors tell
from monitoring.monitor.contributions import ServiceLoad, read_load


class ValueKind(StrEnum):
    """How a number comes out of what is read.

    A level is the number itself; a change, a count, a ratio and a percentile are taken over the
    rule's window: what was added, what was counted, the part of one count in another, a spread.
    """

    LEVEL = "level"
    CHANGE = "change"
    COUNT = "count"
    RATIO = "ratio"
    PERCENTILE = "percentile"


#: Reads the series now: numbers by label values; of a ratio (part, whole). Raises RedisError.
Reader = Callable[[Snapshot], Mapping[Key, float] | Mapping[Key, tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Value:
    """A figure of ours; it is read anew after `every` seconds."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Reader
    kind: ValueKind = ValueKind.LEVEL
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class Watchable:
    """A name that a rule can give, as the editor offers it."""

    name: str
    help: str
    labels: tuple[str, ...]
    kind: ValueKind


_KINDS = {
    Kind.GAUGE: ValueKind.LEVEL,
    Kind.COUNTER: ValueKind.COUNT,
    Kind.HISTOGRAM: ValueKind.PERCENTILE,
}
_values: dict[str, Value] = {}


def register_value(value: Value) -> None:
    """One that has a metric's name takes its place."""
    _values[value.name] = value


def value_of(name: str) -> Value | None:
    return _values.get(name)


def watchables() -> dict[str, Watchable]:
    """Everything that a rule can watch, by name."""
    found = {
        family.name: Watchable(family.name, family.help, family.labels, _KINDS[family.kind])
        for family in REGISTRY.families()
    }
    for value in _values.values():
        found[value.name] = Watchable(value.name, value.help, value.labels, value.kind)
    return dict(sorted(found.items()))


def register() -> None:
    """Called when the app is ready."""
    for value in _OURS:
        register_value(value)


# ---------------------------------------------------------------- figures of monitoring itself
_MODEL, _CANCELLED = "model_name", "CANCELLED"
_ENDS = ("request_success_total", "request_failure_total")


_load: ServiceLoad | None = None


def begin_moment() -> None:
    """What was read for an earlier one counts no more."""
    global _load
    _load = None


def _load_now() -> ServiceLoad:
    """Read once a moment, for all figures that are taken of it."""
    global _load
    if _load is None:
        _load = read_load()
    return _load


def _workers(snapshot: Snapshot) -> Mapping[Key, float]:
    return {(): float(_load_now().workers)}


def _queued(snapshot: Snapshot) -> Mapping[Key, float]:
    return {(): float(_load_now().queued)}


def _services(snapshot: Snapshot) -> Mapping[Key, float]:
    return {
        (part.name,): 1.0 if part.healthy else 0.0 for part in [*check_health(), *check_parts()]
    }


def _failures(snapshot: Snapshot) -> Mapping[Key, tuple[float, float]]:
    """(failed, ended) by model; what a caller has cancelled is no failure."""
    found: dict[Key, tuple[float, float]] = {}
    for name in _ENDS:
        for labels, count in labelled(snapshot, name, snapshot.counters.get(name, {})):
            key = (labels.get(_MODEL, ""),)
            failed, ended = found.get(key, (0.0, 0.0))
            is_failure = name == _ENDS[1] and labels.get("code") != _CANCELLED
            found[key] = (failed + (count if is_failure else 0.0), ended + count)
    return found


def _share(used: str, total: str) -> Reader:
    """One gauge as a part of another one with the same labels."""

    def read(snapshot: Snapshot) -> Mapping[Key, float]:
        wholes = snapshot.gauges.get(total, {})
        return {
            key: number / wholes[key]
            for key, number in snapshot.gauges.get(used, {}).items()
            if wholes.get(key)
        }

    return read


def labelled(
    snapshot: Snapshot, name: str, series: Mapping[Key, float]
) -> Iterator[tuple[dict[str, str], float]]:
    info = snapshot.families.get(name)
    names: Iterable[str] = info.labels if info is not None else ()
    for key, number in series.items():
        yield dict(zip(names, key, strict=False)), number


_OURS = (
    Value("workers", "Workers that serve.", (), _workers),
    Value("queue_length", "Requests that no worker has picked up.", (), _queued),
    Value(
        "queue_growth", "Requests in the queue that came within the window, less those that went.",
        (), _queued, ValueKind.CHANGE,
    ),
    Value(
        "service_up", "1 where a probe, worker, engine or monitor of the status is well, else 0.",
        ("service",), _services, every=10.0,
    ),
    Value(
        "error_ratio", "Failed part of the requests that ended, of five at least.",
        (_MODEL,), _failures, ValueKind.RATIO,
    ),
    Value(
        "memory_used_ratio", "Used part of a machine's memory.", ("node",),
        _share("node_memory_used_bytes", "node_memory_total_bytes"),
    ),
    Value(
        "disk_used_ratio", "Used part of a file system.", ("node", "path"),
        _share("node_disk_used_bytes", "node_disk_total_bytes"),
    ),
    Value(
        "gpu_memory_used_ratio", "Used part of a GPU's memory.", ("node", "gpu"),
        _share("gpu_memory_used_bytes", "gpu_memory_total_bytes"),
    ),
)  # fmt: skip
