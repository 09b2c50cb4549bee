"""Attention over pages with plain torch: pages are gathered into rows, then read as usual.

It runs on every device and computes every rule, and it is the measure for the fast kernel. Shapes
depend on a sequence alone or are rounded as `inference.engine.tiling` says, so that on the CPU, in
float32, what else is in the batch changes nothing.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F

from inference.engine.attention import LayerRule
from inference.engine.paged.inputs import StepInputs
from inference.engine.paged.rows import PagedRows
from inference.engine.tiling import TILE, pad_group, pad_rows, read_length


def attend_gathered(
    query: torch.Tensor,  # [T, heads, D]
    keys: torch.Tensor,  # [pages, page, kv heads, D]
    values: torch.Tensor,  # [pages, page, kv heads, Dv]
    rows: PagedRows,
    inputs: StepInputs,
    rule: LayerRule,
) -> torch.Tensor:  # [T, heads, Dv]
    """Attend for all rows of a step whose keys and values are in their pages; padding gets zeros."""
    output = query.new_zeros(query.shape[0], query.shape[1], values.shape[-1])
    num_decodes = rows.num_decodes
    if num_decodes:
        output[:num_decodes] = _decode(query[:num_decodes], keys, values, rows, inputs, rule)
    row = num_decodes
    for index in range(num_decodes, len(rows.counts)):
        end, count = rows.lengths[index], rows.counts[index]
        table = inputs.tables[index, : len(rows.tables[index])]
        sequence_keys = keys[table].flatten(0, 1).transpose(0, 1)  # [kv heads, L, D]
        sequence_values = values[table].flatten(0, 1).transpose(0, 1)
        for start, stop in _tiles(end - count, end):
            taken = slice(row, row + stop - start)
            output[taken] = _attend_tile(query[taken], sequence_keys, sequence_values, start, rule)
            row += stop - start
    return output


def _tiles(start: int, end: int) -> list[tuple[int, int]]:
    """`start` to `end` cut at the multiples of TILE."""
    borders = [start, *range((start // TILE + 1) * TILE, end, TILE), end]
    return list(pairwise(borders))


def _decode(
    query: torch.Tensor,  # [B, heads, D]
    keys: torch.Tensor,
    values: torch.Tensor,
    rows: PagedRows,
    inputs: StepInputs,
    rule: LayerRule,
) -> torch.Tensor:  # [B, heads, Dv]
    num_decodes, page = rows.num_decodes, keys.shape[1]
    length = read_length(max(rows.lengths[:num_decodes]))
    num_pages = -(-length // page)
    tables = inputs.tables[:num_decodes, :num_pages].long()
    # Whoever is shorter reads the scratch page; so does everyone in what the rounding adds.
    tables = F.pad(tables, (0, num_pages - tables.shape[1]))
    taken_keys = keys[tables].flatten(1, 2)[:, :length].transpose(1, 2)  # [B, kv heads, L, D]
    taken_values = values[tables].flatten(1, 2)[:, :length].transpose(1, 2)
    num_kv_heads = keys.shape[2]
    group = query.shape[1] // num_kv_heads
    grouped = query.new_zeros(num_decodes, num_kv_heads, pad_group(group), query.shape[-1])
    grouped[:, :, :group] = query.reshape(num_decodes, num_kv_heads, group, -1)
    places = torch.arange(length, device=query.device)
    last = inputs.lengths[:num_decodes, None] - 1
    mask = _mask(last, places[None], rule.window, query.dtype)[:, None, None, :]
    output = _scores_to_output(grouped, taken_keys, taken_values, mask, rule)
    return output[:, :, :group].flatten(1, 2)


def _attend_tile(
    query: torch.Tensor,  # [t, heads, D], the rows from position `start` on, inside one tile
    keys: torch.Tensor,  # [kv heads, L, D]
    values: torch.Tensor,  # [kv heads, L, Dv]
    start: int,
    rule: LayerRule,
) -> torch.Tensor:  # [t, heads, Dv]
    num_rows, num_heads, width = query.shape
    num_kv_heads = keys.shape[0]
    group = num_heads // num_kv_heads
    end = (start // TILE + 1) * TILE
    first = 0 if rule.window is None else max(0, start - rule.window + 1) // TILE * TILE
    grouped = query.new_zeros(num_kv_heads, group, pad_rows(num_rows), width)
    grouped[:, :, :num_rows] = query.reshape(num_rows, num_kv_heads, group, width).permute(
        1, 2, 0, 3
    )
    positions = torch.arange(start, start + grouped.shape[2], device=query.device)
    places = torch.arange(first, end, device=query.device)
    mask = _mask(positions[:, None], places[None], rule.window, query.dtype)
    output = _scores_to_output(
        grouped,
        keys[:, first:end].unsqueeze(1).expand(-1, group, -1, -1),
        values[:, first:end].unsqueeze(1).expand(-1, group, -1, -1),
        mask,
        rule,
    )
    return output[:, :, :num_rows].permute(2, 0, 1, 3).flatten(1, 2)


def _scores_to_output(
    query: torch.Tensor,  # [..., rows, D]
    keys: torch.Tensor,  # [..., L, D]
    values: torch.Tensor,  # [..., L, Dv]
    mask: torch.Tensor,  # added to the scores
    rule: LayerRule,
) -> torch.Tensor:
    if rule.softcap is None:
        return F.scaled_dot_product_attention(
            query, keys, values, attn_mask=mask, scale=rule.scaling
        )
    scores = torch.matmul(query, keys.transpose(-1, -2)) * rule.scaling
    scores = torch.tanh(scores / rule.softcap) * rule.softcap + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, values)


def _mask(
    rows: torch.Tensor, places: torch.Tensor, window: int | None, dtype: torch.dtype
) -> torch.Tensor:
    """0 where the row's position may look at the place, minus infinity elsewhere."""
    visible = places <= rows
    if window is not None:
        visible &= places > rows - window
    mask = torch.zeros(visible.shape, dtype=dtype, device=visible.device)
    return mask.masked_fill_(~visible, -torch.inf)
