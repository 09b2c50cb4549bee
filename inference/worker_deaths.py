"""Workers that ended without having said so, and those that came: seen once a second, told once each.

A worker that was killed may be back before its last report runs out: only its new instance shows it. So
what was seen last is kept in Redis, beside the reports, and whoever looks next goes on from there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings

from inference.presence import SEEN, WorkerReport, known_workers
from llamagpu.lib.redis_client import SyncRedis, sync_client
from monitoring.alerts.values import Value, ValueKind, register_value
from monitoring.live_events import MODEL_EVENTS, publish
from monitoring.metrics.labels import Key
from monitoring.metrics.reading import Snapshot
from monitoring.monitor.duties import register_duty

logger = logging.getLogger(__name__)

#: Seconds for which readiness and status tell of a death.
TOLD_FOR = 300
_DEATHS = "lg:workers:deaths"
_MARKED_FOR = 3600
_EVERY = 1.0

_looked_at = float("-inf")


def register() -> None:
    register_duty("workers", _look_in_time, every=_EVERY)
    register_value(
        Value(
            "worker_deaths",
            "Times that a worker ended without having said so.",
            ("worker",),
            _read,
            ValueKind.COUNT,
        )
    )


def look() -> Mapping[str, int]:
    """Compare with what was seen last, tell what is new; deaths by name. Raises RedisError.

    Two that look at once tell it once.
    """
    global _looked_at
    client = sync_client(settings.REDIS_URL)
    workers = known_workers(client)
    pipeline = client.pipeline(transaction=False)
    pipeline.hgetall(SEEN)
    pipeline.hgetall(_DEATHS)
    seen, counted = map(_texts, pipeline.execute())
    _looked_at = time.monotonic()
    for name in (seen.keys() | counted.keys()) - workers.keys():
        client.hdel(SEEN, name)
        client.hdel(_DEATHS, name)
    for name, report in workers.items():
        now, before = report.instance if report is not None else "", seen.get(name)
        if now == before:
            continue
        # From silence to a new instance is the same death, not a second one.
        if before and _is_first(client, "death", name, before):
            counted[name] = _note_death(client, name, is_back=bool(now))
        if report is not None and _is_first(client, "start", name, report.instance):
            _tell_start(report, after_death=before is not None)
        client.hset(SEEN, name, now)
    return {name: int(counted.get(name, 0)) for name in workers}


def recent_deaths(client: SyncRedis, names: Iterable[str]) -> dict[str, float]:
    """When those of these workers died (seconds since the epoch) that did within `TOLD_FOR` seconds.

    Raises RedisError.
    """
    wanted = list(names)
    if not wanted:
        return {}
    found = client.mget([_death_key(name) for name in wanted])
    return {name: float(at) for name, at in zip(wanted, found, strict=True) if at is not None}


def _look_in_time() -> None:
    """Where no rule looks at deaths: somebody must."""
    if time.monotonic() - _looked_at > _EVERY / 2:
        look()


def _note_death(client: SyncRedis, name: str, *, is_back: bool) -> str:
    """How many that makes."""
    num = client.hincrby(_DEATHS, name, 1)
    client.set(_death_key(name), str(time.time()), ex=TOLD_FOR)
    logger.warning("the worker %s ended without having said so", name)
    publish(MODEL_EVENTS, "worker_died", {"worker": name, "is_back": is_back})
    return str(num)


def _tell_start(report: WorkerReport, *, after_death: bool) -> None:
    data = {"worker": report.name, "host": report.host, "after_death": after_death}
    publish(MODEL_EVENTS, "worker_started", data)


def _is_first(client: SyncRedis, what: str, name: str, instance: str) -> bool:
    marked = client.set(f"lg:worker:{what}:{name}:{instance}", 1, nx=True, ex=_MARKED_FOR)
    return bool(marked)


def _death_key(name: str) -> str:
    return f"lg:worker:died:{name}"


def _texts(found: Mapping[Any, Any]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in found.items()}


def _read(snapshot: Snapshot) -> Mapping[Key, float]:
    return {(name,): float(num) for name, num in look().items()}
