"""Would a model fit some worker? Asked before it is loaded, from its headers and the workers' figures.

An estimate of the least that the model needs: the engine makes the exact one when it loads.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass

import redis

from inference.admission import find_workers
from inference.load_options import LoadOptions
from inference.memory_plan import LEAST_KV_BYTES, LEAST_WEIGHT_BYTES, MemoryEstimate, least_memory
from inference.model_files import ModelFilesError
from inference.model_store import read_facts
from inference.models import Model
from inference.presence import EngineReport, WorkerReport
from inference.prompts import asked_length, model_directory
from inference.states import ModelState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.memory import total_bytes
from monitoring.configuration import current

_GPU_BACKENDS = ("cuda", "rocm")


@dataclass(frozen=True, slots=True)
class Fit:
    """Bytes of memory."""

    needed: int
    available: int

    @property
    def is_enough(self) -> bool:
        return self.available >= self.needed


def check_room(model: Model, options: LoadOptions) -> None:
    """Raises AppError where no worker can load `model` so: INSUFFICIENT_MEMORY, BACKEND_UNAVAILABLE,
    NO_WORKER, INVALID_INPUT, or MODEL_LOAD_FAILED where its files cannot be read."""
    workers = live()
    if not workers:
        raise AppError(
            ErrorCode.NO_WORKER,
            "No inference worker is running. It may be starting: try again shortly.",
            retry_after=5,
        )
    if model.is_remote:
        return  # it takes no memory here
    _check_backend(options, workers)
    if _may_use_gpu(options, workers):
        return
    if any(_serves(worker, model) for worker in workers):
        found = [options.max_memory_bytes(total_bytes())]  # it fits, unless it is to have less
    else:
        stays = protected_models()
        found = [room_of(worker, model, options, stays) for worker in workers]
    least = _least(model)
    rooms = [room for room in found if room is not None]
    if len(rooms) < len(found) or max(rooms) >= least.total:
        return
    raise AppError(
        ErrorCode.INSUFFICIENT_MEMORY,
        f"'{model.slug}' {least.describe(max(rooms))}. Unload another model or raise "
        "LLAMA_MAX_MEMORY.",
        details={
            "needed": least.total,
            "available": max(rooms),
            "weights": least.weights,
            "kv_cache": least.kv_cache,
            "working": least.working,
        },
    )


def fit_of(model: Model) -> Fit | None:
    """The least that `model` needs, and the most that one worker has for it; None where nobody can tell.

    On a GPU the engine itself finds out.
    """
    try:
        workers = live()
        if model.is_remote or not workers or _may_use_gpu(LoadOptions(), workers):
            return None
        least, stays = _least(model), protected_models()
    except AppError:
        return None
    rooms = [room_of(worker, model, LoadOptions(), stays) for worker in workers]
    known = [room for room in rooms if room is not None]
    return Fit(least.total, max(known)) if known else None


def has_failed_engine(model: Model) -> bool:
    """Whether some worker could not load it and waits before it tries again."""
    return any(
        engine.model == model.slug and engine.state is ModelState.FAILED
        for worker in live()
        for engine in worker.engines
    )


def live() -> list[WorkerReport]:
    """The workers of now. Raises AppError BACKEND_UNAVAILABLE where Redis is away."""
    try:
        return find_workers()
    except redis.RedisError as error:
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The message broker does not answer.", retry_after=5
        ) from error


def protected_models() -> frozenset[str]:
    """Models that no worker unloads to make room for another one."""
    pinned = Model.objects.filter(is_pinned=True).values_list("slug", flat=True)
    return frozenset({*pinned, current().default_model})


def room_of(
    worker: WorkerReport, model: Model, options: LoadOptions, stays: Container[str] = ()
) -> int | None:
    """Bytes that an engine of `model` could have there; None where the worker cannot tell.

    What its engine of now holds counts as free: the new one takes its place. So does what engines hold
    that nobody uses, but for those of models that stay.
    """
    going = [
        engine
        for engine in worker.engines
        if engine.model == model.slug or (engine.model not in stays and _is_idle(engine))
    ]
    own = sum(engine.held_bytes for engine in going)
    resident = sum(engine.resident_bytes for engine in going)
    bounds = [options.max_memory_bytes(total_bytes())]
    if worker.memory_limit is not None:
        held = sum(engine.held_bytes for engine in worker.engines)
        bounds.append(worker.memory_limit - held + own)
    if worker.memory_available is not None:
        bounds.append(worker.memory_available + resident)
    known = [bound for bound in bounds if bound is not None]
    return max(0, min(known)) if known else None


def _least(model: Model) -> MemoryEstimate:
    try:
        files = read_facts(model_directory(model))
    except ModelFilesError as error:
        raise AppError(ErrorCode.MODEL_LOAD_FAILED, str(error)) from error
    return least_memory(
        files,
        context_length=asked_length(model),
        weight_bytes_per_parameter=LEAST_WEIGHT_BYTES,
        kv_dtype_bytes=LEAST_KV_BYTES,
    )


def _check_backend(options: LoadOptions, workers: Iterable[WorkerReport]) -> None:
    """Refuses what every worker has said that it cannot do."""
    reasons = [worker.rejected_backends for worker in workers]
    if options.backend in _GPU_BACKENDS and all(options.backend in found for found in reasons):
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE,
            f"backend: no worker has {options.backend}: {reasons[0][options.backend]}",
        )
    no_gpu = all(set(_GPU_BACKENDS) <= found.keys() for found in reasons)
    if options.devices is not None and (options.backend == "cpu" or no_gpu):
        raise AppError(
            ErrorCode.INVALID_INPUT, "devices: names GPUs, and the model would run on the CPU."
        )
    tensor_parallel = current().tensor_parallel
    if options.devices is not None and tensor_parallel not in (1, len(options.devices)):
        raise AppError(
            ErrorCode.INVALID_INPUT,
            f"devices: must name {tensor_parallel} GPUs, as LLAMA_TENSOR_PARALLEL says.",
        )


def _may_use_gpu(options: LoadOptions, workers: Iterable[WorkerReport]) -> bool:
    """There the GPU's own memory decides, which only the engine knows."""
    if options.backend == "cpu":
        return False
    return not all(set(_GPU_BACKENDS) <= worker.rejected_backends.keys() for worker in workers)


def _is_idle(engine: EngineReport) -> bool:
    is_ready = engine.state is ModelState.READY
    return is_ready and not engine.num_running and not engine.num_waiting


def _serves(worker: WorkerReport, model: Model) -> bool:
    return any(
        engine.model == model.slug and engine.state is ModelState.READY for engine in worker.engines
    )
