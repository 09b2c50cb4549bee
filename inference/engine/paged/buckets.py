"""Which batch sizes of pure decode steps get a graph of their own (no torch)."""

from __future__ import annotations

from bisect import bisect_left

# Up to here sizes double; from here on they grow by this much, so that padding stays small.
_STRIDE = 32


def bucket_sizes(num_slots: int) -> tuple[int, ...]:
    """1, 2, 4, 8, 16, 32, 64, 96 ... and `num_slots` itself, in rising order."""
    doubling = [size for size in (1, 2, 4, 8, 16) if size < num_slots]
    return (*doubling, *range(_STRIDE, num_slots, _STRIDE), num_slots)


def choose_bucket(num_sequences: int, sizes: tuple[int, ...]) -> int | None:
    """The smallest size that holds so many sequences; None where none does."""
    index = bisect_left(sizes, num_sequences)
    return sizes[index] if num_sequences > 0 and index < len(sizes) else None
