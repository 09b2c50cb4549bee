"""The sizes that computations are rounded up to, so that batching changes no rounding (no torch).

Kernels add up in an order that depends on the shape. Here shapes depend on a sequence alone: with
float32 on AVX-512 a token's logits are then bit-equal whatever else runs (tests and
`inference.engine.attention` say how). On other hardware, and in half precision, what is left is
the usual rounding.
"""

from __future__ import annotations

# Prompts are computed in pieces that start at multiples of TILE, and caches are read in multiples
# of it; 64 keeps the kernels' vector lanes full.
TILE = 64
# Rows of a step, and of a tile's attention, are padded to a multiple of this. The matrix kernels
# treat the last few rows of an odd number apart (measured: 1 to 3 and 9 to 11 rows), and 8 rows cost
# no more than 4.
ROW_MULTIPLE = 8
# Query heads that share a key head are padded to a multiple of this, for the same reason.
GROUP_MULTIPLE = 4
# torch's attention on the CPU sums keys in blocks of 512, and its matrix kernel halves sums of 193 to
# 383 terms, so that what one row adds up first would depend on the longest row beside it (measured:
# no other multiple of TILE differs, for any head size).
_KEY_BLOCK = 512
_HALVED = range(193, 384)
_WHOLE = 384


def pad_rows(num_rows: int) -> int:
    """`num_rows` rounded up to a multiple of ROW_MULTIPLE."""
    return -(-num_rows // ROW_MULTIPLE) * ROW_MULTIPLE


def pad_group(num_heads: int) -> int:
    """`num_heads` rounded up to a multiple of GROUP_MULTIPLE."""
    return -(-num_heads // GROUP_MULTIPLE) * GROUP_MULTIPLE


def read_length(num_tokens: int) -> int:
    """How many positions are read where the longest sequence has filled `num_tokens`."""
    length = -(-num_tokens // TILE) * TILE
    blocks, rest = divmod(length, _KEY_BLOCK)
    return blocks * _KEY_BLOCK + _WHOLE if rest in _HALVED else length
