"""The header of a GGUF file: its key-value facts, and its tensors' types, shapes and places.

Layout (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md): magic, version, two counts, the
key-value pairs, the tensor descriptions, then the tensors' bytes at aligned offsets. Only the header
is read. A file cut short is found by arithmetic, and a hostile one can make us read no more than
itself.
"""

from __future__ import annotations

import math
import mmap
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = 32
_MAX_DIMENSIONS = 4
_STRING, _ARRAY = 8, 9
_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
# Longer arrays are vocabularies, of which only the length is of use here.
_MAX_KEPT = 1024
# Name, numbers in a block, bytes of a block.
_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4),
    27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip


class GgufError(Exception):
    """The file is no whole GGUF file. The message names file and reason."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor: its type's name, its shape with the fastest dimension first, its bytes."""

    dtype: str
    shape: tuple[int, ...]
    num_bytes: int

    @property
    def num_elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """`fields` holds scalars, strings and short arrays; `lengths` the length of every array."""

    fields: dict[str, Any] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    tensors: dict[str, GgufTensor] = field(default_factory=dict)


def read_gguf_header(file: Path) -> GgufHeader:
    """The header of `file`. Raises GgufError."""
    try:
        with file.open("rb") as stream:
            if stream.read(4) != MAGIC:
                raise GgufError(f"{file}: not a GGUF file")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _Reader(file, content).read()
    except FileNotFoundError as error:
        raise GgufError(f"{file}: missing") from error
    except OSError as error:
        raise GgufError(f"{file}: cannot be read: {error.strerror or error}") from error


class _Reader:
    """Walks the header from front to back; `_at` never passes the end of the file."""

    def __init__(self, file: Path, content: mmap.mmap) -> None:
        self._file = file
        self._content = content
        self._size = len(content)
        self._at = len(MAGIC)

    def read(self) -> GgufHeader:
        version = self._number("<I")
        if version not in _VERSIONS:
            raise GgufError(f"{self._file}: GGUF version {version} is not read, only 2 and 3")
        num_tensors, num_fields = self._number("<Q"), self._number("<Q")
        header = GgufHeader()
        for _ in range(num_fields):
            name = self._string()
            kind = self._number("<I")
            if kind == _ARRAY:
                values, header.lengths[name] = self._array()
                if values is not None:
                    header.fields[name] = values
            else:
                header.fields[name] = self._value(kind)
        ends = [self._tensor(header) for _ in range(num_tensors)]
        alignment = header.fields.get("general.alignment", _ALIGNMENT)
        if type(alignment) is not int or not 1 <= alignment <= 2**20:
            raise GgufError(f"{self._file}: an alignment of {alignment!r}")
        data_start = -(-self._at // alignment) * alignment
        needed = data_start + max(ends, default=0)
        if needed > self._size:
            raise GgufError(f"{self._file}: truncated: {needed} bytes needed, {self._size} there")
        return header

    def _tensor(self, header: GgufHeader) -> int:
        """Reads one description; where its bytes end, counted from the first tensor's."""
        name = self._string()
        num_dimensions = self._number("<I")
        if num_dimensions > _MAX_DIMENSIONS:
            raise GgufError(f"{self._file}: tensor {name} has {num_dimensions} dimensions")
        shape = tuple(self._number("<Q") for _ in range(num_dimensions))
        kind, offset = self._number("<I"), self._number("<Q")
        if kind not in _TYPES:
            raise GgufError(f"{self._file}: tensor {name} has the unknown type {kind}")
        type_name, block, block_bytes = _TYPES[kind]
        elements = math.prod(shape)
        if elements % block:
            raise GgufError(f"{self._file}: tensor {name} does not fill blocks of {block}")
        num_bytes = elements // block * block_bytes
        header.tensors[name] = GgufTensor(type_name, shape, num_bytes)
        return offset + num_bytes

    def _array(self) -> tuple[list[Any] | None, int]:
        """The values of a short array, or None, and its length."""
        kind, length = self._number("<I"), self._number("<Q")
        if length <= _MAX_KEPT:
            return [self._value(kind) for _ in range(length)], length
        if kind in _SCALARS:
            self._skip(struct.calcsize(_SCALARS[kind]) * length)
        else:
            for _ in range(length):
                self._skip(self._string_length(kind))
        return None, length

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind not in _SCALARS:
            raise GgufError(f"{self._file}: a field of the unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _string_length(self, kind: int = _STRING) -> int:
        if kind != _STRING:
            raise GgufError(f"{self._file}: an array of the unknown type {kind}")
        length: int = self._number("<Q")
        return length

    def _string(self) -> str:
        start = self._skip(self._string_length())
        try:
            return self._content[start : self._at].decode("utf-8")
        except UnicodeDecodeError as error:
            raise GgufError(f"{self._file}: a text in its header is not UTF-8") from error

    def _number(self, form: str) -> Any:
        start = self._skip(struct.calcsize(form))
        return struct.unpack_from(form, self._content, start)[0]

    def _skip(self, num_bytes: int) -> int:
        """Move on; where the skipped bytes start."""
        start = self._at
        if num_bytes > self._size - start:
            raise GgufError(f"{self._file}: truncated inside its header ({self._size} bytes)")
        self._at = start + num_bytes
        return start
