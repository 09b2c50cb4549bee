"""How many sequences of which length fit into the memory that is left (no torch)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from inference.engine.kv_cache.base import LayerShape
from inference.engine.tiling import TILE, read_length
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

# Of the memory that is free after loading: the rest is for activations, logits and the system.
_CACHE_SHARE = 0.8
_GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Capacity:
    """`slot_len` is what a step may read of a slot for `max_model_len` tokens."""

    num_slots: int
    max_model_len: int

    @property
    def slot_len(self) -> int:
        return read_length(self.max_model_len)


def check_weights_fit(num_parameters: int, dtype_bytes: int, free_bytes: int | None) -> None:
    """Raises LoadError INSUFFICIENT_MEMORY where the weights alone are more than what is free."""
    needed = num_parameters * dtype_bytes
    if free_bytes is not None and needed > free_bytes:
        raise LoadError(
            f"the weights need {needed / _GIB:.1f} GiB, {free_bytes / _GIB:.1f} GiB are free",
            ErrorCode.INSUFFICIENT_MEMORY,
        )


def plan_capacity(
    config: EngineConfig,
    model_len: int,
    layers: Sequence[LayerShape],
    dtype_bytes: int,
    free_bytes: int | None,
) -> Capacity:
    """The slots and the context length to serve with.

    The configured length is cut to the model's. Where memory is short, an unset length is halved
    first, then slots are given up; every choice is logged. Raises LoadError INSUFFICIENT_MEMORY
    where not even one slot fits.
    """
    length = min(config.max_model_len or model_len, model_len)
    if free_bytes is None:
        return Capacity(config.num_slots, length)
    per_token = sum(layer.bytes_per_token(dtype_bytes) for layer in layers)
    budget = int(free_bytes * _CACHE_SHARE)
    if config.max_model_len is None:
        while length > 2 * TILE and config.num_slots * length * per_token > budget:
            length = -(-length // 2)
    num_slots = min(config.num_slots, budget // (Capacity(1, length).slot_len * per_token))
    if num_slots < 1:
        raise LoadError(
            f"one sequence of {length} tokens needs {length * per_token / _GIB:.1f} GiB of cache, "
            f"{budget / _GIB:.1f} GiB are free for it; lower max_model_len",
            ErrorCode.INSUFFICIENT_MEMORY,
        )
    if num_slots < config.num_slots or length < model_len:
        logger.info("serving %d slots of %d tokens", num_slots, length)
    return Capacity(num_slots, length)
