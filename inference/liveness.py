"""Workers and engines as parts of the installation: alive, or silent, and how busy they are."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime

import redis
from django.conf import settings

from inference.admission import find_workers, queue_length
from inference.presence import EngineReport, WorkerReport, forget, known_workers
from inference.states import ModelState
from inference.worker_deaths import recent_deaths
from llamagpu.lib.redis_client import sync_client
from monitoring.health import ProbeResult, register_parts
from monitoring.monitor.contributions import ModelLoad, ServiceLoad, register_load
from monitoring.monitor.duties import register_duty

#: Seconds after which a worker that was killed and did not come back is no part any more.
FORGET_AFTER = 3600.0
_FORGET_EVERY = 60.0

_silent_since: dict[str, float] = {}


def register() -> None:
    register_parts("workers", worker_parts)
    register_load(service_load)
    register_duty("silent workers", forget_silent, every=_FORGET_EVERY)


def worker_parts() -> list[ProbeResult]:
    """Each worker and each of its engines. None at all where Redis is away: its probe says so."""
    try:
        client = sync_client(settings.REDIS_URL)
        workers = known_workers(client)
        deaths = recent_deaths(client, workers)
    except redis.RedisError:
        return []
    parts = []
    for name, worker in workers.items():
        if worker is None:
            parts.append(ProbeResult(f"worker:{name}", False, "it does not report any more", 0.0))
            continue
        told = f"process {worker.pid} on {worker.host}, {worker.num_active_jobs} jobs"
        if name in deaths:
            told += f"; the one before it died at {_clock(deaths[name])}"
        parts.append(ProbeResult(f"worker:{name}", True, told, 0.0))
        parts += [_engine_part(name, engine) for engine in worker.engines]
    return parts


def service_load() -> ServiceLoad:
    """How busy the workers are, for the monitor. Raises RedisError."""
    workers = find_workers()
    return ServiceLoad(
        workers=len(workers),
        active=sum(worker.num_active_jobs for worker in workers),
        queued=queue_length(workers),
        models=_loads(workers),
    )


def forget_silent() -> int:
    """Forget workers that have been silent for an hour; how many. Raises RedisError.

    One that was stopped as it should be has forgotten itself; this is for machines that are gone.
    """
    client, now = sync_client(settings.REDIS_URL), time.monotonic()
    silent = [name for name, report in known_workers(client).items() if report is None]
    for name in _silent_since.keys() - set(silent):
        del _silent_since[name]
    gone = [name for name in silent if now - _silent_since.setdefault(name, now) >= FORGET_AFTER]
    for name in gone:
        forget(client, name)
    return len(gone)


def _clock(unix: float) -> str:
    return f"{datetime.fromtimestamp(unix, UTC):%H:%M:%S} UTC"


def _engine_part(worker: str, engine: EngineReport) -> ProbeResult:
    told = f"{engine.state.value}, {engine.num_running} running, {engine.num_waiting} waiting"
    if engine.state is ModelState.FAILED:
        told = "it could not be loaded: the worker's log says why"
    is_well = engine.state is not ModelState.FAILED
    return ProbeResult(f"engine:{worker}/{engine.model}", is_well, told, 0.0)


def _loads(workers: Iterable[WorkerReport]) -> dict[str, ModelLoad]:
    by_model: dict[str, list[EngineReport]] = {}
    for worker in workers:
        for engine in worker.engines:
            if engine.state is ModelState.READY:
                by_model.setdefault(engine.model, []).append(engine)
    return {
        slug: ModelLoad(
            running=sum(engine.num_running for engine in engines),
            waiting=sum(engine.num_waiting for engine in engines),
            engines=len(engines),
            kv_cache_usage=max(engine.kv_cache_usage for engine in engines),
        )
        for slug, engines in by_model.items()
    }
