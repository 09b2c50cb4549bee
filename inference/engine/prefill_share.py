"""How the prompts in progress share a step: the shortest first, but the oldest always goes on.

Shortest remaining first gives the best mean time to the first token, and a giant prompt holds up no
short one; the share kept for the oldest bounds how long the giant can be held up in turn.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence as SequenceOf

from inference.engine.sequence import Sequence
from inference.engine.tiling import TILE

# Of the budget, kept for the oldest prompt.
_OLDEST_SHARE = 4


def oldest_share(budget: int) -> int:
    """Tokens of a step's `budget` that the oldest prompt gets, whatever else there is."""
    return max(TILE, budget // _OLDEST_SHARE // TILE * TILE)


def share_budget(
    prefilling: SequenceOf[Sequence], budget: int, *, is_oldest_first: bool
) -> list[tuple[Sequence, int]]:
    """Tokens for each sequence that gets any; together at most `budget`.

    A grant is a whole number of tiles, or all that a sequence has left to compute. With a budget
    of a single tile, `is_oldest_first` says whose turn it is.
    """
    if len(prefilling) == 1:
        size = _fit(prefilling[0].num_pending, budget)
        return [(prefilling[0], size)] if size else []
    order = sorted(prefilling, key=lambda s: (-s.priority, s.num_pending, s.arrival))
    oldest = min(order, key=lambda s: s.order)
    reserve = oldest_share(budget) if budget >= 2 * TILE or is_oldest_first else 0
    reserved = _fit(oldest.num_pending, min(reserve, budget))
    left = budget - reserved
    grants: list[tuple[Sequence, int]] = []
    for sequence in order:
        base = reserved if sequence is oldest else 0
        size = _fit(sequence.num_pending, base + left)
        if size:
            grants.append((sequence, size))
            left -= size - base
    return grants


def would_get_some(
    prefilling: Collection[Sequence], newcomer: Sequence, num_pending: int, budget: int
) -> bool:
    """Whether a sequence with `num_pending` tokens to compute would get any of this step."""
    ahead = 0
    reserve = oldest_share(budget)
    for sequence in prefilling:
        if sequence.priority < newcomer.priority:
            continue
        is_shorter = sequence.priority > newcomer.priority or sequence.num_pending <= num_pending
        ahead += sequence.num_pending if is_shorter else min(reserve, sequence.num_pending)
    return budget - ahead >= min(TILE, num_pending)


def _fit(num_pending: int, budget: int) -> int:
    """All that is pending, or as many whole tiles as the budget holds."""
    return num_pending if num_pending <= budget else budget // TILE * TILE
