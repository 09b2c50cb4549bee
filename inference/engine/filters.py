"""Top-k, top-p and min-p: which tokens of a distribution stay.

All three keep the most likely tokens down to some probability, so the answer is a threshold; tokens as
likely as the last one that is kept stay too. On the host a row is looked at block by block: a bound
that no kept token can be under rules out most blocks before anything is sorted.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from inference.protocol import SamplingParams

Floats = np.ndarray[Any, np.dtype[np.float32]]

# The bound for top-p is exact; this keeps rounding on the safe side of it.
_SLACK = 0.99
_FEW = 1000


def has_filter(params: SamplingParams) -> bool:
    """Whether any of the three removes anything."""
    return params.top_p < 1.0 or params.top_k > 0 or params.min_p > 0.0


def draw_on_host(
    blocks: Floats,  # [blocks, size]: one row's probabilities in the order of the vocabulary
    maxima: Floats,  # [blocks]: the largest of each
    total: float,
    uniform: float,
    params: SamplingParams,
) -> int:
    """The token of one row that `uniform`, in [0, 1), falls on among those that stay."""
    size = blocks.shape[1]
    chosen, some, candidates = _candidates(blocks, maxima, total, params)
    threshold = _threshold(candidates, total, params)
    kept = np.flatnonzero(some >= threshold)
    position = int(kept[pick(some[kept], uniform)[0]])
    return int(chosen[position // size]) * size + position % size


def pick(weights: Floats, uniform: float) -> tuple[int, float]:
    """The index at which the running sum exceeds `uniform` of the total, and how far into it.

    The second number, in [0, 1], is where in the weight `uniform` fell: uniform again.
    """
    running = weights.cumsum(dtype=np.float64)
    target = uniform * running[-1]
    # Rounding may take the target to the total: never beyond the last token that has any weight.
    last = running.searchsorted(running[-1])
    index = int(min(running.searchsorted(target, side="right"), last))
    weight = float(weights[index])
    return index, min(max((target - (running[index] - weight)) / weight, 0.0), 1.0)


def thresholds(
    probabilities: torch.Tensor,  # [rows, vocab]
    total: torch.Tensor,  # [rows] float64
    params: list[SamplingParams],
) -> torch.Tensor:
    """The smallest probability [rows] that stays, found on the device by sorting whole rows."""
    device = probabilities.device
    values = probabilities.sort(dim=-1, descending=True).values
    num_tokens = values.shape[-1]
    top_k = [min(p.top_k, num_tokens) or num_tokens for p in params]
    last = torch.tensor(top_k, device=device)[:, None]
    top_p = torch.tensor([p.top_p for p in params], dtype=torch.float64, device=device)[:, None]
    min_p = torch.tensor([p.min_p for p in params], dtype=values.dtype, device=device)[:, None]
    keep = torch.arange(num_tokens, device=device)[None, :] < last
    running = values.cumsum(dim=-1, dtype=torch.float64)
    # top-p measures what top-k has left over.
    mass = torch.where(last < num_tokens, running.gather(-1, last - 1), total[:, None])
    # As long as the better ones do not reach p, a token belongs to the smallest set that does.
    keep &= (top_p >= 1.0) | (running - values < top_p * mass)
    keep &= values >= min_p * values[:, :1]
    num_kept = keep.sum(dim=-1, keepdim=True).clamp_(min=1)
    return values.gather(-1, num_kept - 1).squeeze(-1)


def _candidates(
    blocks: Floats, maxima: Floats, total: float, params: SamplingParams
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], Floats, Floats]:
    """All tokens that may stay: their blocks' indices, those blocks' tokens, the candidates sorted.

    The last are in descending order, and all that count for those that stay are among them.
    """
    least = params.min_p * float(maxima.max())
    if params.top_k:
        rank = len(maxima) - params.top_k
        # As many blocks as top_k hold a token that likely, so the top_k best are at least as likely.
        best_k = float(np.partition(maxima, rank)[rank]) if rank >= 0 else 0.0
        bounds = [best_k if params.top_p < 1.0 else max(least, best_k)]
    elif params.top_p < 1.0:
        # However many tokens are under the last bound, they cannot make up what top_p leaves out. The
        # first one supposes that they are no more than a thousand, which is mostly true.
        rest = _SLACK * (1.0 - params.top_p) * total
        bounds = [max(least, rest / _FEW), max(least, rest / blocks.size)]
    else:
        bounds = [least]
    for bound in bounds:
        chosen = np.flatnonzero(maxima >= bound)
        some = blocks[chosen].ravel()
        candidates = some[some >= bound]
        if bound == bounds[-1] or candidates.sum(dtype=np.float64) >= params.top_p * total:
            break
    candidates.sort()
    return chosen, some, candidates[::-1]


def _threshold(candidates: Floats, total: float, params: SamplingParams) -> np.float32:
    """The smallest of the candidates, which are in descending order, that stays."""
    num_kept = len(candidates)
    if params.top_k:
        num_kept = min(num_kept, params.top_k)
    if params.top_p < 1.0:
        running = candidates.cumsum(dtype=np.float64)
        mass = running[num_kept - 1] if params.top_k else total
        better = running - candidates
        num_kept = min(num_kept, int(better.searchsorted(params.top_p * mass)))
    if params.min_p > 0.0:
        least = np.float32(params.min_p) * candidates[0]
        num_kept = min(num_kept, int((candidates >= least).sum()))
    threshold: np.float32 = candidates[max(1, num_kept) - 1]
    return threshold
