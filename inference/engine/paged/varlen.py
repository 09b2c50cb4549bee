"""torch's paged FlashAttention, and the proof at start-up that it is right on this device.

`num_splits=1` is not a matter of taste: with split keys the kernel leaves rows unwritten
(pytorch#194167), and unsplit sums do not depend on what else is in the batch.
"""

from __future__ import annotations

import logging

import torch
from torch.nn.attention.varlen import varlen_attn

from inference.engine.attention import LayerRule
from inference.engine.kv_cache.base import LayerShape
from inference.engine.paged.gathered import attend_gathered
from inference.engine.paged.inputs import InputStaging, StepInputs
from inference.engine.paged.rows import PagedRows

logger = logging.getLogger(__name__)

_MAX_HEAD_DIM = 256
_HEAD_DIM_MULTIPLE = 8
_DTYPES = frozenset({torch.bfloat16, torch.float16})
# Of the largest output: half precision rounds the probabilities and the result, float32 does not.
_TOLERANCE = 0.02


def attend_varlen(
    query: torch.Tensor,  # [T, heads, D], T without padding
    keys: torch.Tensor,  # [pages, page, kv heads, D]
    values: torch.Tensor,
    inputs: StepInputs,
    max_rows: int,
    window: int | None,
    scaling: float,
) -> torch.Tensor:  # [T, heads, D]
    """Attend for all rows; `max_rows` is the most that one sequence has. Synchronizes nothing."""
    output = varlen_attn(
        query,
        keys,
        values,
        inputs.row_borders,
        inputs.length_borders,
        max_rows,
        inputs.tables.shape[1] * keys.shape[1],
        scale=scaling,
        window_size=_window(window, max_rows),
        enable_gqa=query.shape[1] != keys.shape[2],
        seqused_k=inputs.lengths,
        block_table=inputs.tables,
        num_splits=1,
    )
    if isinstance(output, tuple):
        raise TypeError("varlen_attn returned more than was asked for")
    return output


def _window(window: int | None, max_rows: int) -> tuple[int, int]:
    """The kernel's (left, right): rows are aligned to the end of the keys, left excludes the row.

    A single row is the last token and sees everything, so it needs no causal mask; without one the
    kernel computes the heads of a group together.
    """
    if window is not None:
        return window - 1, 0
    return (-1, -1) if max_rows == 1 else (-1, 0)


def why_not_varlen(
    layers: list[LayerShape], softcaps: list[float | None], dtype: torch.dtype, device: torch.device
) -> str | None:
    """Why this model cannot use the kernel; None where it can, as far as shapes tell."""
    if device.type != "cuda":
        return f"there is no such kernel on {device.type}"
    if dtype not in _DTYPES:
        return f"it computes no {str(dtype).removeprefix('torch.')}"
    if any(softcap is not None for softcap in softcaps):
        return "it caps no scores"
    for layer in layers:
        if layer.key_dim != layer.value_dim:
            return "keys and values differ in size"
        if layer.key_dim % _HEAD_DIM_MULTIPLE or layer.key_dim > _MAX_HEAD_DIM:
            return f"it computes no heads of {layer.key_dim}"
    return None


def check_varlen(
    num_heads: int,
    layer: LayerShape,
    windows: set[int | None],
    page: int,
    dtype: torch.dtype,
    device: torch.device,
) -> str | None:
    """Compare the kernel with float32 on random pages; what is wrong, or None.

    Decodes alone and decodes beside chunks, lengths at the borders of pages, every window in use.
    """
    generator = torch.Generator(device="cpu").manual_seed(0)
    try:
        for rows in (_sample_rows(page, with_chunks=False), _sample_rows(page, with_chunks=True)):
            for window in windows:
                problem = _compare(num_heads, layer, rows, window, page, dtype, device, generator)
                if problem is not None:
                    return problem
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        return " ".join(str(error).split())[:300] or type(error).__name__
    return None


def _compare(
    num_heads: int,
    layer: LayerShape,
    rows: PagedRows,
    window: int | None,
    page: int,
    dtype: torch.dtype,
    device: torch.device,
    generator: torch.Generator,
) -> str | None:
    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(device=device, dtype=dtype)

    num_pages = 1 + max(max(table) for table in rows.tables)
    keys = draw(num_pages, page, layer.num_kv_heads, layer.key_dim)
    values = draw(num_pages, page, layer.num_kv_heads, layer.value_dim)
    query = draw(len(rows.token_ids), num_heads, layer.key_dim)
    inputs = InputStaging(device).upload(rows)
    rule = LayerRule(layer.key_dim**-0.5, window, None)
    ours = attend_varlen(query, keys, values, inputs, max(rows.counts), window, rule.scaling)
    exact = attend_gathered(query.float(), keys.float(), values.float(), rows, inputs, rule)
    difference = float((ours.float() - exact).abs().max() / exact.abs().max())
    logger.debug("paged attention, window %s: relative difference %.1e", window, difference)
    # NaN compares False, and must not pass.
    if not difference <= _TOLERANCE:
        return f"its result differs from float32's by {difference:.1e}, window {window}"
    return None


def _sample_rows(page: int, *, with_chunks: bool) -> PagedRows:
    """Sequences of one row and, if asked for, of many, in pages that are not in order."""
    lengths = [1, page - 1, page, page + 1, 3 * page - 7]
    counts = [1] * len(lengths)
    if with_chunks:
        lengths += [70, 2 * page + 5]
        counts += [70, 133]
    rows = PagedRows(counts=counts, lengths=lengths, num_decodes=5)
    number = sum(-(-length // page) for length in lengths)
    for length in lengths:
        num_pages = -(-length // page)
        rows.tables.append(list(range(number, number - num_pages, -1)))
        number -= num_pages
    for name in (rows.token_ids, rows.positions, rows.places):
        name.extend([0] * sum(counts))
    return rows
