"""What the database wants of each model, and how an engine of it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import Error, connections

from inference.load_options import LoadOptions
from inference.models import Model
from inference.placement import Placed
from inference.prompts import asked_length, model_directory, most_new_tokens
from inference.protocol import Load
from inference.routing import placed
from inference.services.upstreams import open_key
from inference.upstreams import AddressRefusedError, BaseUrl, check_allowed
from inference.worker.engine_pool import LoadOrder
from inference.worker.engine_process import EngineLoadError
from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.config import LlamaConfig
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.memory import total_bytes
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.sealing import UnsealError
from monitoring.configuration import current

_SERVABLE: PreparedQuery[Model] = PreparedQuery(lambda: Model.objects.servable())


@dataclass(frozen=True, slots=True)
class DesiredModel:
    """A model that may be served. `is_wanted` says to load it unasked, `idle_limit` (seconds, None:
    never) when to end an engine that nobody uses; engines of another generation shall end. A protected one
    is never ended for another model's sake. `place` is set where only some workers shall hold it."""

    slug: str
    generation: int
    is_wanted: bool
    idle_limit: int | None
    is_protected: bool = False
    place: Placed | None = None


def desired_models() -> list[DesiredModel]:
    """Every model that may be served. Raises django.db.Error; the caller closes the connection."""
    config = current()
    return [
        DesiredModel(
            slug=model.slug,
            generation=model.generation,
            is_wanted=model.is_wanted(config.default_model),
            idle_limit=model.idle_limit(config.default_model, config.keep_alive),
            is_protected=model.is_pinned or model.slug == config.default_model,
            place=placed(model, model.replicas) if model.replicas else None,
        )
        for model in _SERVABLE.rows()
    ]


def order_for(slug: str) -> LoadOrder:
    """What an engine process must load for a model. Raises EngineLoadError for an unknown one."""
    try:
        model = Model.objects.servable().select_related("upstream").filter(slug=slug).first()
        config = current()
    except Error as error:
        message = "The database does not answer."
        raise EngineLoadError(ErrorCode.BACKEND_UNAVAILABLE, message) from error
    finally:
        connections.close_all()
    if model is None:
        raise EngineLoadError(
            ErrorCode.MODEL_NOT_FOUND, f"There is no model '{slug}', or it is disabled."
        )
    if model.is_remote:
        return LoadOrder(_remote_load(model, config), model.generation)
    return LoadOrder(_load(model, config), model.generation)


def _load(model: Model, config: LlamaConfig) -> Load:
    options = LoadOptions.from_row(model.load_options)
    level = options.optimization_level
    if level is None:
        level = config.optimization_level
    return Load(
        model_path=str(model_directory(model)),
        backend=options.backend or config.backend,
        num_slots=model.max_running or config.num_slots,
        max_model_len=asked_length(model) or 0,
        max_waiting=config.max_queue,
        max_memory_bytes=options.max_memory_bytes(total_bytes()) or 0,
        cache_dir=str(config.cache_dir),
        dtype=config.dtype,
        tensor_parallel=config.tensor_parallel,
        devices=config.devices if options.devices is None else options.devices,
        optimization_level=-1 if level is None else level,
        upgrade=True,
    )


def _remote_load(model: Model, config: LlamaConfig) -> RemoteLoad:
    """Raises EngineLoadError where its address or its key cannot be used any more."""
    upstream = model.upstream
    try:
        url = BaseUrl.parse(upstream.base_url)
        check_allowed(url, config.upstream_allow)
        key = open_key(upstream)
    except AddressRefusedError as error:
        message = f"The address of the upstream of '{model.slug}' {error}."
        raise EngineLoadError(ErrorCode.BACKEND_UNAVAILABLE, message) from error
    except UnsealError as error:
        message = (
            f"The key of the upstream of '{model.slug}' cannot be read any more: set it again."
        )
        raise EngineLoadError(ErrorCode.BACKEND_UNAVAILABLE, message) from error
    lengths = (model.context_length, model.max_model_len, config.max_model_len)
    limits = [limit for limit in lengths if limit]
    return RemoteLoad(
        base_url=url,
        upstream_model=upstream.upstream_model,
        key=key,
        allow=config.upstream_allow,
        silence=float(upstream.silence),
        capabilities=frozenset(upstream.capabilities),
        max_model_len=min(limits, default=0),
        max_new_tokens=most_new_tokens(model),
        num_slots=model.max_running or config.worker_concurrency,
    )
