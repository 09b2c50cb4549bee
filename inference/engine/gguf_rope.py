"""Repairs to the rotary embedding that transformers 5.23 reads from a GGUF file.

Llama 3.1 and its kin stretch their slow frequencies. A GGUF stores the result, one divisor per
frequency in the tensor `rope_freqs.weight`, which transformers leaves out: such a model would read
long texts wrongly and say nothing. The rule behind the numbers has four constants, of which three
are the same in every release (Llama 3.1's model card, 2024), so the fourth is read off the largest
divisor, and the rule is believed only where it gives every other number too.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

_TENSOR = "rope_freqs.weight"
_LOW, _HIGH, _ORIGINAL = 1.0, 4.0, 8192
_TOLERANCE = 1e-3


def repair_rope(gguf: Path, model_dir: Path) -> str | None:
    """Write the stretched rotary embedding into `model_dir`/config.json where the file has one.

    Returns a warning where its numbers follow no known rule, None where all is right.
    """
    import gguf as gguf_format

    tensors = gguf_format.GGUFReader(gguf).tensors
    divisors = next(
        ([float(x) for x in tensor.data] for tensor in tensors if tensor.name == _TENSOR), None
    )
    if divisors is None or all(abs(divisor - 1) < _TOLERANCE for divisor in divisors):
        return None
    file = model_dir / "config.json"
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    rope = config.get("rope_parameters") or {}
    factor = max(divisors)
    expected = llama3_divisors(len(divisors), float(rope.get("rope_theta", 10_000.0)), factor)
    if any(
        abs(ours - theirs) > _TOLERANCE * theirs
        for ours, theirs in zip(expected, divisors, strict=True)
    ):
        return (
            f"{gguf}: its rotary frequencies follow no known rule; long texts may be read wrongly"
        )
    config["rope_parameters"] = {
        **rope,
        "rope_type": "llama3",
        "factor": round(factor, 6),
        "low_freq_factor": _LOW,
        "high_freq_factor": _HIGH,
        "original_max_position_embeddings": _ORIGINAL,
    }
    file.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return None


def llama3_divisors(num_frequencies: int, theta: float, factor: float) -> list[float]:
    """By how much Llama 3.1's rule divides each of the frequencies, the fastest first."""
    divisors = []
    for index in range(num_frequencies):
        wavelength = 2 * math.pi * theta ** (index / num_frequencies)
        if wavelength < _ORIGINAL / _HIGH:
            divisors.append(1.0)
        elif wavelength > _ORIGINAL / _LOW:
            divisors.append(factor)
        else:
            smooth = (_ORIGINAL / wavelength - _LOW) / (_HIGH - _LOW)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return divisors
