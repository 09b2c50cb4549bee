"""What rank 0 tells the others, as frames on their standard input (no torch).

A pipe and not a collective: a rank with nothing to do sleeps in a read without a timeout, and the
end of rank 0, however it comes, is the end of the file.
"""

from __future__ import annotations

import struct
from array import array
from enum import IntEnum
from typing import IO

_HEADER = struct.Struct("<II")
_NUMBER = "q"


class Command(IntEnum):
    """STEP computes rows, ZERO overwrites pages, REFERENCE runs tokens through plain attention."""

    STEP = 1
    ZERO = 2
    REFERENCE = 3


def write_command(pipe: IO[bytes], command: Command, numbers: list[int]) -> None:
    """Raises OSError where nobody reads any more."""
    data = array(_NUMBER, numbers).tobytes()
    pipe.write(_HEADER.pack(command, len(numbers)) + data)
    pipe.flush()


def read_command(pipe: IO[bytes]) -> tuple[Command, list[int]] | None:
    """The next command; None at the end of the file."""
    header = pipe.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    kind, count = _HEADER.unpack(header)
    numbers = array(_NUMBER)
    size = count * numbers.itemsize
    data = pipe.read(size)
    if len(data) < size:
        return None
    numbers.frombytes(data)
    return Command(kind), numbers.tolist()
