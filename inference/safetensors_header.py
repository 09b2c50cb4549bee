"""The header of a safetensors file: names, types, shapes and places of its tensors.

Layout: 8 bytes little-endian header length, that many bytes of JSON, then the tensors' bytes
(https://github.com/huggingface/safetensors#format). A file cut short is found here, by arithmetic.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The format's own limit on a header (100 MB), which also bounds what a hostile file makes us read.
_MAX_HEADER_BYTES = 100_000_000
_LENGTH = struct.Struct("<Q")
_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32,
    "F16": 16, "BF16": 16, "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip


class SafetensorsError(Exception):
    """The file is no whole safetensors file. The message names file and reason."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor: its stored type, its shape and the half-open byte range after the header."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def num_bytes(self) -> int:
        return self.end - self.start

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


def read_header(file: Path) -> dict[str, TensorInfo]:
    """Every tensor of `file` by name. Raises SafetensorsError."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            prefix = stream.read(_LENGTH.size)
            if len(prefix) < _LENGTH.size:
                raise SafetensorsError(f"{file}: truncated: {size} bytes hold no header")
            (length,) = _LENGTH.unpack(prefix)
            if length > _MAX_HEADER_BYTES:
                raise SafetensorsError(f"{file}: not safetensors: a header of {length} bytes")
            if _LENGTH.size + length > size:
                raise SafetensorsError(f"{file}: truncated inside its header ({size} bytes)")
            header = json.loads(stream.read(length))
    except FileNotFoundError as error:
        raise SafetensorsError(f"{file}: missing") from error
    except OSError as error:
        raise SafetensorsError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise SafetensorsError(f"{file}: its header is not valid JSON: {error}") from error
    if not isinstance(header, dict):
        raise SafetensorsError(f"{file}: its header is not a JSON object")
    header.pop("__metadata__", None)
    tensors = {name: _tensor(file, name, fields) for name, fields in header.items()}
    _check_extent(file, tensors, size - _LENGTH.size - length)
    return tensors


def _tensor(file: Path, name: str, fields: Any) -> TensorInfo:
    try:
        start, end = fields["data_offsets"]
        dtype, shape = fields["dtype"], tuple(fields["shape"])
    except (KeyError, TypeError, ValueError) as error:
        raise SafetensorsError(f"{file}: tensor {name} is badly described") from error
    numbers = (start, end, *shape)
    if not isinstance(dtype, str) or any(type(n) is not int or n < 0 for n in numbers):
        raise SafetensorsError(f"{file}: tensor {name} has an impossible shape or place")
    bits = _BITS.get(dtype)
    if bits is None:
        raise SafetensorsError(f"{file}: tensor {name} has the unknown type {dtype}")
    if (end - start) * 8 != math.prod(shape) * bits:
        raise SafetensorsError(f"{file}: tensor {name} does not fill its place")
    return TensorInfo(dtype, shape, start, end)


def _check_extent(file: Path, tensors: dict[str, TensorInfo], data_bytes: int) -> None:
    """The tensors must tile the data without gap or overlap, as the format demands."""
    position = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].end)):
        if tensor.start != position:
            raise SafetensorsError(f"{file}: tensor {name} overlaps another or leaves a gap")
        position = tensor.end
    if position > data_bytes:
        raise SafetensorsError(
            f"{file}: truncated: {position} bytes of tensors, {data_bytes} bytes in the file"
        )
    if position < data_bytes:
        raise SafetensorsError(f"{file}: {data_bytes - position} bytes belong to no tensor")
