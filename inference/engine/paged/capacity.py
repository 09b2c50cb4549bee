"""How many pages fit beside weights and activations, and what they hold (no torch)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from inference.engine.capacity import Capacity
from inference.engine.config import EngineConfig
from inference.engine.errors import LoadError
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

# Of what is free beside the weights and a step's activations; the rest is for the allocator's gaps.
_SHARE = 0.92


@dataclass(frozen=True, slots=True)
class DeviceRoom:
    """Bytes that a device has for pages (None: nobody knows), and those of one page there."""

    free_bytes: int | None
    page_bytes: int

    @property
    def num_pages(self) -> int | None:
        if self.free_bytes is None:
            return None
        return max(0, int(self.free_bytes * _SHARE)) // self.page_bytes


def count_pages(
    config: EngineConfig, model_len: int, rooms: Sequence[DeviceRoom], page: int
) -> int:
    """The pages to reserve: what all slots can use, as far as every device has the room.

    May be 0: `plan_paged` says what that means.
    """
    wanted = config.num_slots * _pages_for(asked_length(config, model_len), page)
    found = [room.num_pages for room in rooms if room.num_pages is not None]
    return min([wanted, *found])


def plan_paged(config: EngineConfig, model_len: int, num_pages: int, page: int) -> Capacity:
    """The slots and the context length that `num_pages` pages of `page` tokens serve.

    Every slot can hold one page, and one sequence the whole context; sequences that outgrow the
    cache together wait for each other. An open length is cut to the cache, and the log tells it.
    Raises LoadError INSUFFICIENT_MEMORY where the asked length does not fit, or not even one page.
    """
    length = asked_length(config, model_len)
    if num_pages < 1 or (config.max_model_len is not None and num_pages * page < length):
        raise LoadError(
            f"the cache has room for {num_pages * page} tokens, not for one sequence of {length}; "
            "lower LLAMA_MAX_MODEL_LEN, choose a smaller model or unload another one",
            ErrorCode.INSUFFICIENT_MEMORY,
        )
    if num_pages * page < length:
        length = num_pages * page
        logger.warning("the context is cut to the %d tokens that the cache holds", length)
    num_slots = min(config.num_slots, num_pages)
    logger.info(
        "serving %d sequences of up to %d tokens from %d pages of %d",
        *(num_slots, length, num_pages, page),
    )
    return Capacity(num_slots, length)


def asked_length(config: EngineConfig, model_len: int) -> int:
    """The context length of the settings, cut to the model's."""
    return min(config.max_model_len or model_len, model_len)


def _pages_for(num_tokens: int, page: int) -> int:
    return -(-num_tokens // page)
