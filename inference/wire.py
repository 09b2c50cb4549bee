"""Bytes for the words of `inference.protocol`: msgpack frames on a pipe, JSON in Redis and Celery.

A frame is a 4-byte big-endian length, then msgpack of `[class name, fields]`. Decoding checks every
field's type, so a peer of another version fails loudly instead of handing wrong values on. Never
pickle: a peer that is taken over must not gain code execution here.
"""

from __future__ import annotations

import socket
import struct
import typing
from types import GenericAlias
from typing import Any, TypeVar

import msgspec

from inference import protocol

M = TypeVar("M")

MAX_FRAME_BYTES = 64 * 1024 * 1024
_HEADER = struct.Struct(">I")
_READ_BYTES = 1 << 18
_CLASSES: tuple[type[Any], ...] = tuple(
    cls
    for union in (protocol.EngineCommand, protocol.EngineEvent, protocol.StreamEvent)
    for cls in typing.get_args(union)
)


class _Decoder(typing.Protocol):
    def decode(self, buf: bytes, /) -> tuple[str, Any]:
        """Raises msgspec.DecodeError."""


# By how a message begins, so that it is read in one pass: to plain values first takes three times as long.
_OF_JSON: dict[bytes, _Decoder] = {
    b'["%b",' % cls.__name__.encode(): msgspec.json.Decoder(GenericAlias(tuple, (str, cls)))
    for cls in _CLASSES
}
_OF_FRAMES: dict[bytes, _Decoder] = {
    b"\x92" + msgspec.msgpack.encode(cls.__name__): msgspec.msgpack.Decoder(
        GenericAlias(tuple, (str, cls))
    )
    for cls in _CLASSES
}


class WireError(Exception):
    """The bytes are not a message of this protocol version."""


def to_builtins(message: Any) -> dict[str, Any]:
    """The message's fields as JSON-ready values."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return fields


def from_builtins(cls: type[M], fields: Any) -> M:
    """The message of class `cls` with these fields. Raises WireError where a type is wrong."""
    try:
        return msgspec.convert(fields, cls)
    except msgspec.ValidationError as error:
        raise WireError(f"{cls.__name__}: {error}") from error


def encode_json(message: Any) -> bytes:
    """`[class name, fields]` as JSON."""
    return msgspec.json.encode([type(message).__name__, message])


def decode_json(data: bytes) -> Any:
    """The message behind `encode_json`. Raises WireError."""
    return _decode(_OF_JSON.get(data[: data.find(b",") + 1]), data)


def encode_plain(record: Any) -> bytes:
    """A dataclass of a known class as JSON."""
    return msgspec.json.encode(record)


def decode_plain(data: bytes, cls: type[M]) -> M:
    """The dataclass behind `encode_plain`. Raises WireError."""
    try:
        return msgspec.json.decode(data, type=cls)
    except msgspec.DecodeError as error:
        raise WireError(f"{cls.__name__}: {error}") from error


def encode_frame(message: Any) -> bytes:
    """One frame, header included. Raises WireError for a message beyond `MAX_FRAME_BYTES`."""
    body = msgspec.msgpack.encode([type(message).__name__, message])
    if len(body) > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {len(body)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return _HEADER.pack(len(body)) + body


def send(channel: socket.socket, message: Any) -> None:
    """Write one frame. Raises OSError when the peer is gone. Callers serialise their sends."""
    channel.sendall(encode_frame(message))


def receive(channel: socket.socket) -> Any | None:
    """Read one frame; None at end of file. Raises WireError for bytes that are no frame."""
    header = _read_exactly(channel, _HEADER.size)
    if header is None:
        return None
    (length,) = _HEADER.unpack(header)
    if length > MAX_FRAME_BYTES:
        raise WireError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
    body = _read_exactly(channel, length)
    if body is None:
        return None
    return _decode_frame(body)


class FrameReader:
    """Frames from a socket, all that have come at a time: many small ones cost one call of the system."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._unread = bytearray()

    def read(self) -> list[Any] | None:
        """At least one message; None at end of file. Raises WireError for bytes that are no frame."""
        while not (messages := self._take_whole_ones()):
            part = self._channel.recv(_READ_BYTES)
            if not part:
                return None
            self._unread += part
        return messages

    def _take_whole_ones(self) -> list[Any]:
        messages: list[Any] = []
        start, unread = 0, self._unread
        while len(unread) - start >= _HEADER.size:
            (length,) = _HEADER.unpack_from(unread, start)
            if length > MAX_FRAME_BYTES:
                raise WireError(f"a frame of {length} bytes is over the limit of {MAX_FRAME_BYTES}")
            body = start + _HEADER.size
            if len(unread) < body + length:
                break
            start = body + length
            messages.append(_decode_frame(bytes(unread[body:start])))
        del unread[:start]
        return messages


def _read_exactly(channel: socket.socket, length: int) -> bytes | None:
    parts: list[bytes] = []
    while length > 0:
        part = channel.recv(min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _decode_frame(body: bytes) -> Any:
    # An array of two, a string of up to 31 bytes: the length stands in its first byte.
    return _decode(_OF_FRAMES.get(body[: 2 + (body[1] & 0x1F)]) if len(body) > 1 else None, body)


def _decode(decoder: _Decoder | None, data: bytes) -> Any:
    if decoder is None:
        raise WireError(f"not a message: {data[:40]!r}")
    try:
        return decoder.decode(data)[1]
    except msgspec.DecodeError as error:
        raise WireError(f"not a message: {error}") from error
