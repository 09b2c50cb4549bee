"""How many sequences of which length fit into the memory that is left (no torch)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import LayerShape
from inference.engine.tiling import read_length
from inference.memory_plan import cache_budget, least_memory, size_cache
from inference.model_files import ModelFiles
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.memory import format_gib

logger = logging.getLogger(__name__)

_REMEDY = (
    "; choose a smaller model, unload another one, or change LLAMA_MAX_MODEL_LEN, LLAMA_NUM_SLOTS or "
    "LLAMA_MAX_MEMORY"
)


@dataclass(frozen=True, slots=True)
class Capacity:
    """`slot_len` is what a step may read of a slot for `max_model_len` tokens."""

    num_slots: int
    max_model_len: int

    @property
    def slot_len(self) -> int:
        return read_length(self.max_model_len)


def check_fit(
    files: ModelFiles,
    config: EngineConfig,
    free_bytes: int | None,
    *,
    weight_bytes_per_parameter: float,
    kv_dtype_bytes: float,
) -> None:
    """Raises LoadError INSUFFICIENT_MEMORY where not even one sequence could be served.

    Only headers have been read by then. The message has the parts and how to mend it.
    """
    estimate = least_memory(
        files,
        context_length=config.max_model_len,
        weight_bytes_per_parameter=weight_bytes_per_parameter,
        kv_dtype_bytes=kv_dtype_bytes,
    )
    told = f"{files.path}: {estimate.describe(free_bytes)}"
    if free_bytes is not None and estimate.total > free_bytes:
        raise LoadError(told + _REMEDY, ErrorCode.INSUFFICIENT_MEMORY)
    logger.info("%s", told)


def plan_capacity(
    config: EngineConfig,
    model_len: int,
    layers: Sequence[LayerShape],
    dtype_bytes: int,
    free_bytes: int | None,
) -> Capacity:
    """The slots and the context length to serve with, from what is free once weights are loaded.

    The configured length is cut to the model's. Where memory is short, an open length and slots are
    given up in turns (`inference.memory_plan`); every choice is logged. Raises LoadError
    INSUFFICIENT_MEMORY where not even one slot fits.
    """
    asked = config.max_model_len
    length = min(asked or model_len, model_len)
    if free_bytes is None:
        return Capacity(config.num_slots, length)
    per_token = sum(layer.bytes_per_token(dtype_bytes) for layer in layers)
    budget = cache_budget(free_bytes, is_length_asked=asked is not None)
    num_slots, length = size_cache(
        num_slots=config.num_slots,
        asked=asked,
        model_len=model_len,
        bytes_per_token=per_token,
        budget=budget,
    )
    if num_slots < 1:
        raise LoadError(
            f"one sequence of {length} tokens needs {format_gib(length * per_token)} GiB of cache, "
            f"{format_gib(budget)} GiB are free for it{_REMEDY}",
            ErrorCode.INSUFFICIENT_MEMORY,
        )
    if num_slots < config.num_slots or length < model_len:
        logger.info("serving %d slots of %d tokens", num_slots, length)
    return Capacity(num_slots, length)


def plan_serial_capacity(
    config: EngineConfig, files: ModelFiles, dtype_bytes: int, free_bytes: int | None
) -> Capacity:
    """One sequence, as long as memory allows: the model grows its own cache, by copying it.

    Raises LoadError INSUFFICIENT_MEMORY.
    """
    per_token = 2 * files.kv_bytes_per_token(dtype_bytes)
    layers = (LayerShape(1, per_token, 0),) if per_token else ()
    single = replace(config, num_slots=1)
    return plan_capacity(single, files.max_model_len, layers, 1, free_bytes)
