"""Attention over the slotted cache, plugged into transformers' models by name.

A step is one packed row of tokens: the decoding sequences first, one token each, then the prompts'
chunks. transformers calls `attend` once per layer with the whole row; position ids have already
turned the keys, so only here does it matter which token belongs to whom.

**What else is in the batch must not change a sequence's numbers**, or greedy answers would flip
where two tokens are nearly equal. So every token sees shapes that follow from its own sequence
alone, or whose difference is known not to matter (`inference.engine.tiling`): decode rows read
rounded lengths and pad their query heads, prompts are computed in tiles at fixed positions, each a
call of its own, and the row as a whole is padded. Mixture-of-experts layers group rows by expert
and keep some dependence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F

from inference.engine.errors import LoadError
from inference.engine.kv_cache.slotted import SlottedKVCache
from inference.engine.step_batch import StepBatch
from inference.engine.tiling import TILE, pad_group

# No "flash", "sdpa" or "flex_attention" in it: transformers looks for those words, and it builds no
# mask for a name that its mask registry lacks.
ATTENTION_NAME = "llamagpu_slotted"
# Keywords that transformers hands through and that change nothing here.
_HARMLESS = frozenset({
    "attention_mask", "cache_position", "dropout", "is_causal", "num_items_in_batch",
    "output_attentions", "output_hidden_states", "output_router_logits", "position_ids",
    "return_dict", "use_cache",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class LayerRule:
    """How one layer attends: factor on the scores, window in tokens, cap on the scores."""

    scaling: float
    window: int | None
    softcap: float | None


class AttentionTarget(Protocol):
    """What `attend` of every layer is handed to."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # [T, heads, key dim]
        key: torch.Tensor,  # [T, kv heads, key dim]
        value: torch.Tensor,  # [T, kv heads, value dim]
        rule: LayerRule,
    ) -> torch.Tensor:  # [T, heads, value dim]
        """Attend for the whole packed row."""


class AttentionHook:
    """Ties a model's attention modules to the engine without a global: each holds this object."""

    def __init__(self, target: AttentionTarget) -> None:
        self.target = target

    def install(self, model: torch.nn.Module) -> None:
        """Set this hook on every module that knows its layer."""
        for module in model.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.__dict__["engine_hook"] = self


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,  # [1, heads, T, key dim]
    key: torch.Tensor,  # [1, kv heads, T, key dim]
    value: torch.Tensor,  # [1, kv heads, T, value dim]
    attention_mask: torch.Tensor | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **keywords: Any,
) -> tuple[torch.Tensor, None]:
    """The function registered with transformers; returns [1, T, heads, value dim].

    Raises LoadError for a way of attending that this engine does not compute.
    """
    hook = getattr(module, "engine_hook", None)
    kind = type(module).__name__
    if hook is None:
        raise LoadError(f"{kind} does not say which layer it is: the model cannot be served")
    unknown = [
        name for name, item in keywords.items() if item is not None and name not in _HARMLESS
    ]
    if unknown:
        raise LoadError(f"{kind} attends with {unknown[0]}, which this engine does not compute")
    is_causal = keywords.get("is_causal")
    if attention_mask is not None or not getattr(module, "is_causal", True) or is_causal is False:
        raise LoadError(f"{kind} attends to later tokens or with a mask of its own")
    rule = LayerRule(
        scaling=scaling if scaling is not None else query.shape[-1] ** -0.5,
        window=sliding_window,
        softcap=softcap,
    )
    output = hook.target.attend(
        module.layer_idx,
        query[0].transpose(0, 1),
        key[0].transpose(0, 1),
        value[0].transpose(0, 1),
        rule,
    )
    return output.unsqueeze(0), None


class SlottedAttention:
    """Computes a step over a `SlottedKVCache`; the runner sets `batch` before each step."""

    def __init__(self, cache: SlottedKVCache) -> None:
        self._cache = cache
        self.batch: StepBatch | None = None

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        rule: LayerRule,
    ) -> torch.Tensor:
        batch = self.batch
        if batch is None:
            raise RuntimeError("attention was called outside a step")
        num_rows = batch.num_rows
        # A compact cache is attended in its own type; the rest of the model keeps the wider one.
        wide, query = query.dtype, query.to(self._cache.dtype)
        self._cache.write(layer, batch.slots, batch.positions, key[:num_rows], value[:num_rows])
        output = query.new_zeros(query.shape[0], query.shape[1], value.shape[-1])
        if batch.num_decodes:
            output[: batch.num_decodes] = self._decode(layer, query[: batch.num_decodes], rule)
        for run in batch.runs:
            rows = slice(run.row, run.row + run.num_rows)
            keys = self._cache.keys[layer][run.slot, :, : run.length]
            values = self._cache.values[layer][run.slot, :, : run.length]
            # The keys of all rows are one sequence's: shared without a copy.
            keys = keys.expand(run.num_rows, -1, -1, -1)
            values = values.expand(run.num_rows, -1, -1, -1)
            mask = batch.run_mask(run, rule.window, query.dtype)
            every = torch.arange(run.num_rows, device=query.device)
            output[rows] = _attend_rows(query[rows], keys, values, mask, every, rule)
        for tile in batch.tiles:
            rows = slice(tile.row, tile.row + tile.num_rows)
            first = tile.first_key(rule.window)
            keys = self._cache.keys[layer][tile.slot, :, first : tile.start + TILE]
            values = self._cache.values[layer][tile.slot, :, first : tile.start + TILE]
            mask = batch.tile_mask(tile, rule.window, query.dtype)
            output[rows] = _attend_tile(query[rows], keys, values, mask, rule)
        return output.to(wide)

    def _decode(self, layer: int, query: torch.Tensor, rule: LayerRule) -> torch.Tensor:
        """One token of each decoding sequence: query [B, heads, dim] -> [B, heads, value dim]."""
        batch = self.batch
        if batch is None:
            raise RuntimeError("attention was called outside a step")
        span, rows, length = batch.decode_span, batch.decode_rows, batch.decode_length
        keys = self._cache.keys[layer]  # [slots, Hkv, slot_len, D]
        values = self._cache.values[layer]
        if span is not None:
            keys, values = keys[span, :, :length], values[span, :, :length]
        else:
            taken = batch.slots[: batch.num_decodes]
            keys, values = keys[taken, :, :length], values[taken, :, :length]
        mask = batch.decode_mask(rule.window, query.dtype)  # [span, 1, 1, length]
        return _attend_rows(query, keys, values, mask, rows, rule)


def _attend_rows(
    query: torch.Tensor,  # [B, heads, D], one token each
    keys: torch.Tensor,  # [span, Hkv, L, D]
    values: torch.Tensor,  # [span, Hkv, L, Dv]
    mask: torch.Tensor,  # [span, 1, 1, L]
    rows: torch.Tensor,  # [B], which of the span each query reads
    rule: LayerRule,
) -> torch.Tensor:  # [B, heads, Dv]
    num_kv_heads = keys.shape[1]
    group = query.shape[1] // num_kv_heads
    grouped = query.new_zeros(keys.shape[0], num_kv_heads, pad_group(group), query.shape[-1])
    grouped[rows, :, :group] = query.reshape(-1, num_kv_heads, group, query.shape[-1])
    output = _scores_to_output(grouped, keys, values, mask, rule)
    return output[rows, :, :group].flatten(1, 2)


def _attend_tile(
    query: torch.Tensor,  # [t, heads, D], at most TILE rows
    keys: torch.Tensor,  # [Hkv, L, D]
    values: torch.Tensor,  # [Hkv, L, Dv]
    mask: torch.Tensor,  # [t padded, L]
    rule: LayerRule,
) -> torch.Tensor:  # [t, heads, Dv]
    num_rows, num_heads, width = query.shape
    num_kv_heads = keys.shape[0]
    group = num_heads // num_kv_heads
    # The kv heads are the batch, and their keys are shared without a copy.
    grouped = query.new_zeros(num_kv_heads, group, mask.shape[0], width)
    by_head = query.reshape(num_rows, num_kv_heads, group, width).permute(1, 2, 0, 3)
    grouped[:, :, :num_rows] = by_head
    shared_keys = keys.unsqueeze(1).expand(-1, group, -1, -1)
    shared_values = values.unsqueeze(1).expand(-1, group, -1, -1)
    output = _scores_to_output(grouped, shared_keys, shared_values, mask, rule)
    return output[:, :, :num_rows].permute(2, 0, 1, 3).flatten(1, 2)


def _scores_to_output(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    rule: LayerRule,
) -> torch.Tensor:
    """Attention of [..., rows, D] over [..., L, D]; `mask` is added to the scores."""
    if rule.softcap is None:
        return F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=rule.scaling
        )
    # Gemma 2 (2024) bends the scores before the softmax, which no fused kernel of torch does.
    scores = torch.matmul(query, keys.transpose(-1, -2)) * rule.scaling
    scores = torch.tanh(scores / rule.softcap) * rule.softcap + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, values)
