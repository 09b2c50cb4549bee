"""What each worker's plugins are like, as it reports every second.

A report is a key that expires: a worker that is killed vanishes within `LIFETIME` seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings

from llamagpu.lib.redis_client import SyncRedis, sync_client
from plugins_app.breaker import BreakerState
from plugins_app.runners.base import RunnerState

LIFETIME = 5
_NAMES = "lg:plugin-workers"


@dataclass(frozen=True, slots=True)
class PluginReport:
    """One plugin in one worker.

    `generation` is the one that runs, 0 where none does; `tried_generation` the newest that was loaded or
    failed to: with an `error` and `tried_generation` above `generation`, the older one runs on.
    `isolation` names the walls that hold, as `plugins_app.host.walls` does.
    """

    state: RunnerState
    error: str = ""
    version: str = ""
    generation: int = 0
    tried_generation: int = 0
    pid: int | None = None
    resident_bytes: int | None = None
    restarts: int = 0
    breaker: BreakerState = BreakerState.CLOSED
    isolation: tuple[str, ...] = ()


Reports = Mapping[str, PluginReport]
_decoder = msgspec.json.Decoder(dict[str, PluginReport])


def announce(client: SyncRedis, worker: str, reports: Reports) -> None:
    """Say what runs, for `LIFETIME` seconds. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.set(_key(worker), msgspec.json.encode(reports), ex=LIFETIME)
    pipeline.sadd(_NAMES, worker)
    pipeline.execute()


def withdraw(client: SyncRedis, worker: str) -> None:
    """Say that this worker runs none any more. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.delete(_key(worker))
    pipeline.srem(_NAMES, worker)
    pipeline.execute()


def read_reports(client: Any = None) -> dict[str, Reports]:
    """By worker, the report on each plugin. Raises RedisError."""
    client = client or sync_client(settings.REDIS_URL)
    names = sorted(name.decode() for name in client.smembers(_NAMES))
    found: dict[str, Reports] = {}
    if not names:
        return found
    for name, payload in zip(names, client.mget([_key(name) for name in names]), strict=True):
        if payload is None:
            client.srem(_NAMES, name)
            continue
        try:
            found[name] = _decoder.decode(payload)
        except msgspec.DecodeError:
            continue  # a worker of another version
    return found


def _key(worker: str) -> str:
    return f"lg:plugins:{worker}"
