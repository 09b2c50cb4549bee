"""Draws one token per row from its own distribution: temperature, top-k, top-p, min-p.

A row's probabilities stay in the order of the vocabulary, in blocks of 64: the sums of the blocks are
added up in float64, then the tokens of one block. That is as exact as a float64 sum over the whole
vocabulary and costs a tenth. Nothing here depends on the other rows.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np
import torch

from inference.engine.filters import Floats, draw_on_host, has_filter, pick, thresholds
from inference.engine.sequence import Sequence
from inference.protocol import SamplingParams

_BLOCK = 64


def draw(
    logits: torch.Tensor,  # [rows, vocab] float32, finite maxima
    best: torch.Tensor,  # [rows] float32, each row's largest logit
    sequences: SequenceOf[Sequence],
) -> list[int]:
    """A token id per row. Takes one number from the random stream of each sequence."""
    params = [sequence.params for sequence in sequences]
    blocks = _probabilities(logits, best, params)
    sums = blocks.sum(dim=-1)
    if logits.device.type == "cpu":
        return _draw_on_host(blocks, sums.numpy(), sequences)
    uniform = torch.tensor([sequence.random.random() for sequence in sequences])
    uniform = uniform.to(logits.device, torch.float64)
    filtered = [row for row, p in enumerate(params) if has_filter(p)]
    if filtered:
        rows = torch.tensor(filtered, device=logits.device)
        some = blocks[rows]
        total = sums[rows].sum(dim=-1, dtype=torch.float64)
        least = thresholds(some.flatten(1), total, [params[row] for row in filtered])
        blocks[rows] = torch.where(some >= least[:, None, None], some, 0.0)
        sums = blocks.sum(dim=-1)
    return _invert(blocks, sums, uniform).tolist()


def _draw_on_host(
    probabilities: torch.Tensor, sums: Floats, sequences: SequenceOf[Sequence]
) -> list[int]:
    """Row by row: on a processor numpy's few calls per row cost less than torch's over all rows."""
    has_any = any(has_filter(sequence.params) for sequence in sequences)
    maxima: Floats = probabilities.amax(dim=-1).numpy() if has_any else sums
    blocks: Floats = probabilities.numpy()
    tokens = []
    for row, sequence in enumerate(sequences):
        uniform = sequence.random.random()
        if has_filter(sequence.params):
            total = float(sums[row].sum(dtype=np.float64))
            token_id = draw_on_host(blocks[row], maxima[row], total, uniform, sequence.params)
        else:
            block, rest = pick(sums[row], uniform)
            token_id = block * _BLOCK + pick(blocks[row, block], rest)[0]
        tokens.append(token_id)
    return tokens


def _probabilities(
    logits: torch.Tensor, best: torch.Tensor, params: list[SamplingParams]
) -> torch.Tensor:
    """Probabilities [rows, blocks, 64] float32 at each row's temperature; 0 behind the vocabulary."""
    # Largest first: a tiny temperature then divides differences, and cannot overflow.
    scaled = logits - best[:, None]
    temperatures = [p.temperature for p in params]
    if any(temperature != 1.0 for temperature in temperatures):
        scaled /= torch.tensor(temperatures, device=logits.device)[:, None]
    num_missing = -logits.shape[-1] % _BLOCK
    if num_missing:
        scaled = torch.nn.functional.pad(scaled, (0, num_missing), value=-torch.inf)
    return torch.softmax(scaled, dim=-1).view(len(params), -1, _BLOCK)


def _invert(
    blocks: torch.Tensor,  # [rows, blocks, 64] float32
    sums: torch.Tensor,  # [rows, blocks] float32
    uniform: torch.Tensor,  # [rows] float64 in [0, 1)
) -> torch.Tensor:
    """Index [rows] into the flattened blocks: inverse transform sampling, first block, then token."""
    block, rest = _pick(sums, uniform)
    rows = torch.arange(len(blocks), device=blocks.device)
    inner, _ = _pick(blocks[rows, block], rest)
    return block * _BLOCK + inner


def _pick(weights: torch.Tensor, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Index [rows] where the running sum first exceeds `uniform` of the total; and how far into it.

    The second value, in [0, 1], is where in the chosen weight the number fell: uniform again.
    """
    running = weights.cumsum(dim=-1, dtype=torch.float64)
    total = running[:, -1:]
    target = uniform[:, None] * total
    # Rounding may take the target to the total: never beyond the last token that has any weight.
    index = torch.minimum((running <= target).sum(dim=-1), (running < total).sum(dim=-1))
    weight = weights.gather(-1, index[:, None]).double()
    before = running.gather(-1, index[:, None]) - weight
    return index, ((target - before) / weight).squeeze(-1).clamp_(0.0, 1.0)
