"""Messages on a socket: a 4-byte big-endian length, then so many bytes of JSON.

A length over the limit ends the reading before a byte of the message is taken in. Standard library
only: both ends use it.
"""

from __future__ import annotations

import socket
import struct
import time

_HEADER = struct.Struct(">I")
_PIECE = 1 << 18


class FrameError(Exception):
    """What arrived is no frame; nothing after it can be read."""


class FrameTooLargeError(FrameError):
    """A frame over the limit."""


class Frames:
    """One end of a channel; for one thread at a time."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self._rest = bytearray()

    def send(self, payload: bytes, deadline: float | None = None) -> None:
        """Raises OSError where the peer is gone, TimeoutError (one of them) past the deadline."""
        self._wait_until(deadline)
        self.channel.sendall(_HEADER.pack(len(payload)) + payload)

    def receive(self, limit: int, deadline: float | None = None) -> bytes | None:
        """The next message; None at the end. Raises FrameError, and OSError as `send` does."""
        header = self._read(_HEADER.size, deadline)
        if header is None:
            return None
        (length,) = _HEADER.unpack(header)
        if length > limit:
            raise FrameTooLargeError(f"a message of {length} bytes, over the limit of {limit}")
        body = self._read(length, deadline)
        if body is None:
            raise FrameError("the end within a message")
        return body

    def _read(self, length: int, deadline: float | None) -> bytes | None:
        rest = self._rest
        while len(rest) < length:
            self._wait_until(deadline)
            piece = self.channel.recv(_PIECE)
            if not piece:
                if rest:
                    raise FrameError("the end within a message")
                return None
            rest += piece
        taken = bytes(rest[:length])
        del rest[:length]
        return taken

    def _wait_until(self, deadline: float | None) -> None:
        if deadline is None:
            self.channel.settimeout(None)
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.channel.settimeout(left)
