"""Attention over the paged cache: torch's kernel where it is proven, gathering otherwise."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from inference.engine.attention import LayerRule
from inference.engine.kv_cache.paged import PagedKVCache
from inference.engine.paged.gathered import attend_gathered
from inference.engine.paged.inputs import StepInputs
from inference.engine.paged.rows import PagedRows
from inference.engine.paged.varlen import attend_varlen, check_varlen, why_not_varlen
from inference.engine.probe import ProbedLayer

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class PagedStep:
    """What all layers of a step share. `on` moves the numbers along with a model on many devices."""

    rows: PagedRows
    inputs: StepInputs
    max_rows: int = 1
    _copies: dict[torch.device, StepInputs] = field(default_factory=dict)

    def on(self, device: torch.device) -> StepInputs:
        """The inputs on `device`; copied once per step."""
        if self.inputs.buffer.device == device:
            return self.inputs
        if device not in self._copies:
            self._copies[device] = self.inputs.to(device)
        return self._copies[device]


class PagedAttention:
    """The target of the model's attention hook; the runner sets `step` before each step."""

    def __init__(self, cache: PagedKVCache, *, uses_varlen: bool) -> None:
        self._cache = cache
        self.uses_varlen = uses_varlen
        self.step: PagedStep | None = None

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # [T, heads, D]
        key: torch.Tensor,  # [T, kv heads, D]
        value: torch.Tensor,  # [T, kv heads, Dv]
        rule: LayerRule,
    ) -> torch.Tensor:  # [T, heads, Dv]
        step = self.step
        if step is None:
            raise RuntimeError("attention was called outside a step")
        inputs = step.on(query.device)
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        self._cache.write(layer, inputs.places, key, value)
        if not step.rows.counts:
            return query.new_zeros(query.shape[0], query.shape[1], value.shape[-1])
        if self.uses_varlen and rule.softcap is None:
            return attend_varlen(
                query.contiguous(), keys, values, inputs, step.max_rows, rule.window, rule.scaling
            )
        return attend_gathered(query, keys, values, step.rows, inputs, rule)


def choose_varlen(
    layers: Sequence[ProbedLayer], page: int, dtype: torch.dtype, devices: Sequence[torch.device]
) -> bool:
    """Whether torch's kernel serves this model on these devices: shapes and a trial on each say so.

    Where a GPU should have it and has not, one warning says why.
    """
    reason = why_not_varlen(
        [layer.shape for layer in layers], [layer.softcap for layer in layers], dtype, devices[0]
    )
    for device in dict.fromkeys(devices):
        for num_heads, shape in {(layer.num_heads, layer.shape) for layer in layers}:
            windows = {layer.window for layer in layers}
            if reason is None:
                reason = check_varlen(num_heads, shape, windows, page, dtype, device)
    if reason is not None and devices[0].type == "cuda":
        logger.warning("paged FlashAttention is not used: %s; attention is slower", reason)
    return reason is None
