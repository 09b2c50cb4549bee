"""Quantizes linear layers into the kernels' panels: 4 bits where that loses nothing, else 8.

A matrix that came out of a 4-bit file (GGUF's Q4_0 or Q4_1) still lies on that file's grid, so its
4-bit form is the same matrix in half the memory. All others get 8 bits and one scale for 64
weights, which the quality gate has found to be close enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from inference.engine.native.extract import LinearParts
from inference.engine.native.library import GROUP_OF_BITS, PANEL, KernelLibrary, LinearStruct

_HALF_PANEL = PANEL // 2
# Half precision ends at 2^16; a scale is at most twice the largest weight.
_TOP_EXPONENT = 12
_LEAST_EXPONENT = -126


@dataclass(frozen=True, slots=True)
class PackedLinear:
    """A layer as the kernels read it; `description` is bits, n, k, n_real, factor."""

    description: tuple[int, int, int, int, float]
    data: torch.Tensor  # uint8
    bias: torch.Tensor | None  # [n] float32


def pack_linear(library: KernelLibrary, parts: LinearParts, num_threads: int) -> PackedLinear:
    """Pack a layer's matrices. Raises ValueError where a weight is not finite."""
    channels = _channels(parts)
    num_real = sum(weight.shape[0] for weight in parts.weights)
    # An odd half of a last gated panel leaves channels without a row: they stay zero.
    highest = max(int(part.max()) for part in channels) + 1
    num_outputs = -(-highest // PANEL) * PANEL
    factor = _factor(parts)
    data = torch.zeros(0, dtype=torch.uint8)
    for bits in (4, 8):
        group = GROUP_OF_BITS[bits]
        num_inputs = -(-parts.weights[0].shape[1] // group) * group
        linear = LinearStruct(
            bits=bits, n=num_outputs, k=num_inputs, n_real=num_real, factor=factor
        )
        data = torch.zeros(library.packed_bytes(linear), dtype=torch.uint8)
        if _fill(library, linear, parts, channels, data, num_threads):
            break
    description = (bits, num_outputs, num_inputs, num_real, factor)
    return PackedLinear(description, data, _bias(parts, channels, num_outputs))


def _factor(parts: LinearParts) -> float:
    """By what scales and minima are divided so that half precision holds them.

    A power of two, so that dividing by it changes no digit. The largest weight comes to lie near half
    precision's upper end, which leaves the scales of much smaller rows all their digits.
    """
    sizes = [float(weight.abs().max()) for weight in parts.weights]
    if not all(math.isfinite(size) for size in sizes):
        raise ValueError(f"{parts.name}: a weight is not a finite number")
    largest = max(sizes)
    if largest == 0:
        return 1.0
    return 2.0 ** max(_LEAST_EXPONENT, math.floor(math.log2(largest)) - _TOP_EXPONENT)


def _fill(
    library: KernelLibrary,
    linear: LinearStruct,
    parts: LinearParts,
    channels: list[torch.Tensor],
    data: torch.Tensor,
    num_threads: int,
) -> bool:
    """Pack all parts; False as soon as one of them is not exact in this many bits."""
    for weight, places in zip(parts.weights, channels, strict=True):
        rows = weight.float().contiguous()
        if library.pack(linear, rows, places, data, num_threads) > 0:
            return False
    return True


def _channels(parts: LinearParts) -> list[torch.Tensor]:
    """By part: the output channel of each of its rows, int32."""
    counts = [weight.shape[0] for weight in parts.weights]
    if parts.is_gated:
        rows = torch.arange(counts[0], dtype=torch.int32)
        gate = rows // _HALF_PANEL * PANEL + rows % _HALF_PANEL
        return [gate, gate + _HALF_PANEL]
    places, start = [], 0
    for count in counts:
        places.append(torch.arange(start, start + count, dtype=torch.int32))
        start += count
    return places


def _bias(
    parts: LinearParts, channels: list[torch.Tensor], num_outputs: int
) -> torch.Tensor | None:
    if all(bias is None for bias in parts.biases):
        return None
    whole = torch.zeros(num_outputs, dtype=torch.float32)
    for bias, places in zip(parts.biases, channels, strict=True):
        if bias is not None:
            whole[places.long()] = bias.float()
    return whole
