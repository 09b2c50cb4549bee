"""All metrics of the installation at one moment: what every process has counted, merged."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TypeVar

import msgspec
from django.conf import settings

from llamagpu.lib.redis_client import SyncRedis, impatient_client
from monitoring.metrics import storage
from monitoring.metrics.families import Kind, Merge
from monitoring.metrics.histograms import HistogramValue, merge
from monitoring.metrics.labels import Key
from monitoring.metrics.storage import FamilyInfo, GaugeValue, ProcessGauges

#: Seconds that a snapshot is remembered: many readers cost one reading.
LIFETIME = 0.5

Value = TypeVar("Value")
Series = Mapping[str, Mapping[Key, Value]]

_read_info = msgspec.json.Decoder(FamilyInfo)
_read_gauges = msgspec.json.Decoder(ProcessGauges)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Series by name, without `llamagpu_`, and label values in the order of `families[name].labels`."""

    at: float
    families: Mapping[str, FamilyInfo] = field(default_factory=dict)
    counters: Series[float] = field(default_factory=dict)
    gauges: Series[float] = field(default_factory=dict)
    histograms: Series[HistogramValue] = field(default_factory=dict)
    processes: tuple[ProcessGauges, ...] = ()

    def counter(self, name: str, **labels: str) -> float:
        """All series with these labels together; 0 where nothing was counted."""
        return sum(self._matching(self.counters, name, labels))

    def gauge(self, name: str, **labels: str) -> float | None:
        """The sum of all series with these labels; None where there is none."""
        found = list(self._matching(self.gauges, name, labels))
        return sum(found) if found else None

    def histogram(self, name: str, **labels: str) -> HistogramValue | None:
        """All series with these labels together; None where nothing was observed."""
        return merge(self._matching(self.histograms, name, labels))

    def values_of(self, name: str, label: str) -> list[str]:
        """The values of a label that any series has, sorted."""
        info = self.families.get(name)
        if info is None or label not in info.labels:
            return []
        place = info.labels.index(label)
        found = (self.counters, self.gauges, self.histograms)
        return sorted({key[place] for series in found for key in series.get(name, ())})

    def _matching(
        self, series: Series[Value], name: str, labels: Mapping[str, str]
    ) -> Iterable[Value]:
        info = self.families.get(name)
        if info is None or not labels.keys() <= set(info.labels):
            return
        wanted = [(info.labels.index(label), value) for label, value in labels.items()]
        for key, value in series.get(name, {}).items():
            if all(key[place] == text for place, text in wanted):
                yield value


_reading = threading.Lock()
_last: tuple[float, Snapshot] | None = None


def snapshot(*, max_age: float | None = None) -> Snapshot:
    """What holds now, or did `max_age` seconds ago. Raises RedisError. Not for event loops: it waits."""
    global _last
    lifetime = LIFETIME if max_age is None else max_age
    with _reading:
        if _last is None or time.monotonic() - _last[0] >= lifetime:
            read = read_snapshot(_client(settings.REDIS_URL))
            _last = (time.monotonic(), read)
        return _last[1]


@cache
def _client(redis_url: str) -> SyncRedis:
    return impatient_client(redis_url)


def read_snapshot(client: SyncRedis) -> Snapshot:
    """Two round trips. Raises RedisError."""
    pipe = client.pipeline(transaction=False)
    pipe.hgetall(storage.FAMILIES)
    pipe.hgetall(storage.COUNTS)
    pipe.zrange(storage.PROCESSES, 0, -1)
    described, counts, names = pipe.execute()
    families = _families(described.values())
    counters, histograms = _counts(counts, families)
    processes = _processes(client, names)
    return Snapshot(
        at=time.time(),
        families=families,
        counters=counters,
        gauges=_merge_gauges(processes, families),
        histograms=histograms,
        processes=processes,
    )


def _families(described: Iterable[bytes]) -> dict[str, FamilyInfo]:
    found = {}
    for text in described:
        try:
            info = _read_info.decode(text)
        except msgspec.DecodeError:
            continue  # a newer version's
        found[info.name] = info
    return found


def _counts(
    counts: Mapping[bytes, bytes], families: Mapping[str, FamilyInfo]
) -> tuple[dict[str, dict[Key, float]], dict[str, dict[Key, HistogramValue]]]:
    counters: dict[str, dict[Key, float]] = {}
    buckets: dict[str, dict[Key, dict[float | str, float]]] = {}
    for raw, number in counts.items():
        text = raw.decode()
        info = families.get(storage.name_of(text))
        found = storage.read_field(text, info) if info is not None else None
        if found is None:
            continue
        if found.part is None:
            counters.setdefault(found.name, {})[found.key] = float(number)
        else:
            parts = buckets.setdefault(found.name, {}).setdefault(found.key, {})
            parts[found.part] = float(number)
    return counters, {
        name: {key: _histogram(parts, families[name].buckets) for key, parts in series.items()}
        for name, series in buckets.items()
    }


def _histogram(parts: dict[float | str, float], declared: tuple[float, ...]) -> HistogramValue:
    total = parts.pop(storage.SUM, 0.0)
    found = {bound for bound in parts if isinstance(bound, float) and math.isfinite(bound)}
    bounds = declared if found <= set(declared) else tuple(sorted({*declared, *found}))
    counts = tuple([int(parts.get(bound, 0)) for bound in (*bounds, math.inf)])
    return HistogramValue(bounds, counts, total)


def _processes(client: SyncRedis, names: list[bytes]) -> tuple[ProcessGauges, ...]:
    if not names:
        return ()
    texts = client.mget([storage.GAUGES + name.decode() for name in names])
    found = []
    for text in texts:
        try:
            found += [_read_gauges.decode(text)] if text is not None else []
        except msgspec.DecodeError:
            continue  # a newer version's
    return tuple(found)


def _merge_gauges(
    processes: Iterable[ProcessGauges], families: Mapping[str, FamilyInfo]
) -> dict[str, dict[Key, float]]:
    found: dict[str, dict[Key, list[GaugeValue]]] = {}
    for process in processes:
        for value in process.values:
            info = families.get(value.name)
            if info is not None and info.kind is Kind.GAUGE and len(value.key) == len(info.labels):
                found.setdefault(value.name, {}).setdefault(value.key, []).append(value)
    return {
        name: {
            key: _RULES[families[name].merge or Merge.SUM](values) for key, values in series.items()
        }
        for name, series in found.items()
    }


_RULES: Mapping[Merge, Callable[[list[GaugeValue]], float]] = {
    Merge.SUM: lambda values: sum(value.value for value in values),
    Merge.MAX: lambda values: max(value.value for value in values),
    Merge.MIN: lambda values: min(value.value for value in values),
    Merge.LAST: lambda values: max(values, key=lambda value: value.set_at).value,
}
