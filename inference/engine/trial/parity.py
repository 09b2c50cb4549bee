"""A runner's logits beside float32's, computed layer by layer so that no second model need fit."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F

from inference.engine.attention import AttentionHook, LayerRule
from inference.engine.loading import LoadedModel
from inference.engine.paged.rows import PagedRows
from inference.engine.paged.serving import PagedServing
from inference.engine.quantized_linear import Int8Linear


@dataclass(frozen=True, slots=True)
class Parity:
    """`difference` is the largest one over the spread of float32's logits; `agreement` is the share
    of positions whose most likely token is the same; `num_positions` were compared.
    """

    difference: float
    agreement: float
    num_positions: int


class _DenseCausal:
    """Attention of one sequence over itself."""

    def attend(
        self,
        layer: int,
        query: torch.Tensor,  # [T, heads, D]
        key: torch.Tensor,
        value: torch.Tensor,
        rule: LayerRule,
    ) -> torch.Tensor:
        output = F.scaled_dot_product_attention(
            query.transpose(0, 1)[None],
            key.transpose(0, 1)[None],
            value.transpose(0, 1)[None],
            is_causal=True,
            scale=rule.scaling,
            enable_gqa=True,
        )
        return output[0].transpose(0, 1)


def exact_logits(loaded: LoadedModel, token_ids: list[int]) -> torch.Tensor:
    """float32 logits [T, vocab] of a Llama, one layer at a time widened to float32.

    Quantized layers are computed with the weights that they hold.
    """
    body: Any = loaded.model.model
    hook = AttentionHook(_DenseCausal())
    ids = torch.tensor([token_ids], device=loaded.device)
    positions = torch.arange(len(token_ids), device=loaded.device)[None]
    with torch.inference_mode():
        hidden = body.embed_tokens(ids).float()
        turns = body.rotary_emb(hidden, position_ids=positions)
        for layer in body.layers:
            wide = _widen(layer)
            hook.install(wide)
            hidden = wide(
                hidden, attention_mask=None, position_ids=positions, position_embeddings=turns
            )
        hidden = copy.deepcopy(body.norm).float()(hidden)
        return F.linear(hidden[0], loaded.model.lm_head.weight.float())


def compare(
    loaded: LoadedModel,
    serving: PagedServing,
    token_ids: list[int],
    *,
    chunk: int,
    num_decodes: int,
) -> Parity:
    """Feed `token_ids` in chunks, the last `num_decodes` one by one, and compare every position."""
    ours = _run(serving, token_ids, chunk, num_decodes)
    exact = exact_logits(loaded, token_ids)
    spread = float((exact - exact.mean(dim=-1, keepdim=True)).abs().max())
    difference = float((ours - exact).abs().max()) / max(spread, 1e-6)
    same = ours.argmax(dim=-1) == exact.argmax(dim=-1)
    return Parity(difference, float(same.float().mean()), len(token_ids))


def _run(serving: PagedServing, token_ids: list[int], chunk: int, num_decodes: int) -> torch.Tensor:
    place = serving.accounting.allocate(len(token_ids))
    if place is None:
        raise RuntimeError(f"the cache has no room for {len(token_ids)} tokens")
    try:
        table = list(serving.accounting.table(place.slot))
        num_prompt = len(token_ids) - num_decodes
        borders = [*range(0, num_prompt, chunk), *range(num_prompt, len(token_ids) + 1)]
        logits = []
        for start, end in pairwise(borders):
            rows = rows_between(token_ids, start, end, table, serving.accounting.page)
            logits.append(serving.runner.compute(rows).clone())
        return torch.cat(logits)
    finally:
        serving.accounting.free(place.slot)


def rows_between(
    token_ids: list[int], start: int, end: int, table: list[int], page: int
) -> PagedRows:
    """Positions `start` to `end` of one sequence, all of whose logits are wanted."""
    positions = list(range(start, end))
    num_rows = end - start
    return PagedRows(
        token_ids=token_ids[start:end],
        positions=positions,
        places=[table[position // page] * page + position % page for position in positions],
        logit_rows=list(range(num_rows)),
        counts=[num_rows],
        lengths=[end],
        tables=[table[: -(-end // page)]],
        num_decodes=int(num_rows == 1),
        num_logits=num_rows,
    )


def _widen(layer: Any) -> Any:
    """A float32 copy of a decoder layer, its INT8 weights unpacked."""
    wide = copy.deepcopy(layer)
    for module in list(wide.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Int8Linear):
                setattr(module, name, _unpack(child))
    return wide.float()


def _unpack(quantized: Int8Linear) -> torch.nn.Linear:
    weight = quantized.weight.t().float() * quantized.scale[:, None]
    linear = torch.nn.Linear(
        quantized.in_features,
        quantized.out_features,
        bias=quantized.bias is not None,
        device=weight.device,
    )
    linear.weight = torch.nn.Parameter(weight, requires_grad=False)
    if quantized.bias is not None:
        linear.bias = quantized.bias
    return linear
