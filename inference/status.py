"""What inference contributes to health and status: workers, models, queue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import redis
from django.conf import settings

from inference import pull_progress
from inference.admission import find_workers, queue_length
from inference.models import Model
from inference.presence import EngineReport, WorkerReport
from inference.prompts import context_length
from inference.states import ModelState
from inference.worker_deaths import TOLD_FOR, recent_deaths
from llamagpu.lib.redis_client import sync_client
from monitoring.configuration import current, register_running
from monitoring.health import ProbeFailedError, register_probe
from monitoring.services.configuration import register_validator
from monitoring.snapshot import register_section


def register() -> None:
    register_probe("worker", probe_worker)
    register_probe("default_model", probe_default_model)
    register_section("workers", workers_section)
    register_section("queue", queue_section)
    register_running(lambda: [worker.configuration for worker in _workers()])
    register_validator("default_model", missing_model)


def missing_model(slug: str) -> str | None:
    """Why `slug` cannot be the default model, or None."""
    if Model.objects.available().filter(slug=slug).exists():
        return None
    return f"there is no model '{slug}': register it first"


def probe_worker() -> str:
    workers = _workers()
    if not workers:
        raise ProbeFailedError("no worker is running")
    told = f"{len(workers)} running"
    num_dead = _num_dead(workers)
    if num_dead:
        told += f"; {num_dead} died within the last {TOLD_FOR // 60} minutes and came back"
    return told


def probe_default_model() -> str:
    slug = current().default_model
    model = Model.objects.available().filter(slug=slug).first()
    if model is None:
        raise ProbeFailedError(f"'{slug}' is not among the models: run manage.py pull")
    engines = [engine for engine in _engines(_workers()) if engine.model == slug]
    if any(engine.state is ModelState.READY for engine in engines):
        return f"'{slug}' is ready"
    failed = next((engine for engine in engines if engine.state is ModelState.FAILED), None)
    if failed:
        raise ProbeFailedError(f"'{slug}' could not be loaded: the worker's log says why")
    if engines:
        raise ProbeFailedError(f"'{slug}' is loading ({engines[0].progress:.0%})")
    if not model.is_wanted(slug):
        return f"'{slug}' was unloaded and is loaded again at need"
    raise ProbeFailedError(f"'{slug}' is loaded by no worker")


def workers_section() -> list[dict[str, Any]]:
    """Without their configuration, which is not for everybody who may see the status."""
    shown = [asdict(worker) for worker in _workers()]
    for worker in shown:
        del worker["configuration"]
    return shown


def queue_section() -> dict[str, Any]:
    """`waiting` messages no worker has picked up; running and waiting inside the engines."""
    try:
        waiting: int | None = queue_length()
    except redis.RedisError:
        waiting = None
    engines = _engines(_workers())
    return {
        "waiting": waiting,
        "engine_waiting": sum(engine.num_waiting for engine in engines),
        "engine_running": sum(engine.num_running for engine in engines),
    }


def describe_models(models: Iterable[Model]) -> list[dict[str, Any]]:
    """Each model as the API shows it: what is on disk, and what the live workers hold of it."""
    engines: dict[str, list[EngineReport]] = {}
    for engine in _engines(_workers()):
        engines.setdefault(engine.model, []).append(engine)
    return [_describe(model, engines.get(model.slug, [])) for model in models]


def _describe(model: Model, engines: list[EngineReport]) -> dict[str, Any]:
    best = max(engines, key=lambda engine: engine.state is ModelState.READY, default=None)
    return {
        "id": model.slug,
        "source": model.source,
        "revision": model.revision or None,
        "sha256": model.sha256 or None,
        "architecture": model.architecture,
        "format": model.format,
        "stored_dtype": model.stored_dtype,
        "num_parameters": model.num_parameters,
        "size": model.weight_bytes,
        "context_length": context_length(model, engines),
        "is_default": model.slug == current().default_model,
        "enabled": model.is_enabled,
        "pinned": model.is_pinned,
        "keep_alive": model.keep_alive,
        "desired_state": model.desired_state,
        "load_options": model.load_options,
        "replicas": model.replicas,
        "limits": {
            "max_model_len": model.max_model_len,
            "max_running": model.max_running,
            "max_new_tokens": model.max_new_tokens,
        },
        "pull_error": model.pull_error or None,
        "state": str(best.state) if best else model.state,
        "loaded": bool(best and best.state is ModelState.READY),
        "progress": _progress(model, best),
        "backend": best.backend if best and best.backend else None,
        "dtype": best.dtype if best and best.dtype else None,
        "memory": sum(engine.resident_bytes for engine in engines) or None,
        "capabilities": best.capabilities if best and best.capabilities else None,
        "metrics": best.metrics if best and best.metrics else None,
    }


def _progress(model: Model, best: EngineReport | None) -> float | None:
    """How much of a pull or of a load is done, 0 to 1; None where neither is under way."""
    if best is not None:
        return best.progress if best.state is ModelState.LOADING else None
    if model.state != ModelState.DOWNLOADING:
        return None
    try:
        pull = pull_progress.read(sync_client(settings.REDIS_URL), model.slug)
    except redis.RedisError:
        return None
    return pull.fraction if pull else 0.0


def _workers() -> list[WorkerReport]:
    """None at all when Redis does not answer: its own probe says so."""
    try:
        return find_workers()
    except redis.RedisError:
        return []


def _num_dead(workers: list[WorkerReport]) -> int:
    try:
        client = sync_client(settings.REDIS_URL)
        return len(recent_deaths(client, [worker.name for worker in workers]))
    except redis.RedisError:
        return 0


def _engines(workers: list[WorkerReport]) -> list[EngineReport]:
    return [engine for worker in workers for engine in worker.engines]
