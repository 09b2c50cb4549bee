"""Which workers live and what they have loaded, as each of them reports every second.

A report is a key that expires: a worker that is killed vanishes within `LIFETIME` seconds, and no
clocks are compared. The set of names only says which keys to read.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inference.states import ModelState
from inference.wire import WireError, decode_plain, encode_plain
from llamagpu.lib.redis_client import SyncRedis

LIFETIME = 5
#: The instance of each name as whoever watches for deaths saw it last; empty for a silent one.
SEEN = "lg:workers:seen"
_NAMES = "lg:workers"


@dataclass(frozen=True, slots=True)
class EngineReport:
    """One engine process. `state` is loading, ready, unloading or failed; bytes; counts are of now.

    `generation` is the model row's at the time of its start, `held_bytes` what it may come to hold,
    `idle_for` the seconds since its last request.
    """

    model: str
    state: ModelState
    progress: float = 0.0
    stage: str = ""
    error: str = ""
    pid: int | None = None
    backend: str = ""
    device: str = ""
    dtype: str = ""
    max_model_len: int = 0
    num_slots: int = 0
    num_running: int = 0
    num_waiting: int = 0
    resident_bytes: int = 0
    kv_cache_usage: float = 0.0
    prompt_tokens_total: int = 0
    generation_tokens_total: int = 0
    restarts: int = 0
    generation: int = 0
    held_bytes: int = 0
    idle_for: float = 0.0
    capabilities: dict[str, Any] = field(default_factory=dict)
    # All figures of the engine's last `Stats`, by their names there.
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Freed:
    """The last engine of a model that a worker ended on demand: host memory that its process held.

    `generation` is the model row's that asked for it; `why` is said where nobody did.
    """

    generation: int
    num_bytes: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """One worker. `instance` changes at every start of the same name.

    `generations` are those of the model rows that it has taken up; `memory_limit` is what all its
    engines may hold, `memory_available` what its machine has left, in bytes; None where unknown.
    """

    name: str
    instance: str
    pid: int
    host: str
    started_unix: float
    num_active_jobs: int
    concurrency: int
    engines: tuple[EngineReport, ...] = ()
    rejected_backends: dict[str, str] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    freed: dict[str, Freed] = field(default_factory=dict)
    memory_limit: int | None = None
    memory_available: int | None = None
    # The settings that it took up at its start, by name.
    configuration: dict[str, Any] = field(default_factory=dict)


def announce(client: SyncRedis, report: WorkerReport) -> None:
    """Say that this worker lives, for `LIFETIME` seconds. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.set(_key(report.name), encode_plain(report), ex=LIFETIME)
    pipeline.sadd(_NAMES, report.name)
    pipeline.execute()


def withdraw(client: SyncRedis, name: str) -> None:
    """Say that this worker takes no more jobs. Raises RedisError."""
    pipeline = client.pipeline(transaction=False)
    pipeline.delete(_key(name))
    pipeline.srem(_NAMES, name)
    pipeline.hdel(SEEN, name)
    pipeline.execute()


def forget(client: SyncRedis, name: str) -> None:
    """Miss a silent worker no longer. Raises RedisError."""
    client.srem(_NAMES, name)


def live_workers(client: SyncRedis) -> list[WorkerReport]:
    """The workers that reported lately, by name. Raises RedisError."""
    return [report for report in known_workers(client).values() if report is not None]


def known_workers(client: SyncRedis) -> dict[str, WorkerReport | None]:
    """By name; None for one that has fallen silent without having said so. Raises RedisError."""
    names = sorted(name.decode() for name in client.smembers(_NAMES))
    if not names:
        return {}
    found: dict[str, WorkerReport | None] = {}
    for name, payload in zip(names, client.mget([_key(name) for name in names]), strict=True):
        try:
            found[name] = None if payload is None else decode_plain(payload, WorkerReport)
        except WireError:
            continue  # a worker of another version: its own web processes can read it
    return found


def _key(name: str) -> str:
    return f"lg:worker:{name}"
