from __future__ import annotations

import socket
import struct
import threading
import typing
from typing import Any

import msgspec
import pytest

from inference import protocol, wire
from llamagpu.lib.error_codes import ErrorCode

SAMPLES: list[Any] = [
    protocol.Submit(
        "r",
        protocol.Prompt(messages=(protocol.ChatMessage("user", "hé 🦙"),)),
        protocol.SamplingParams(),
        5.0,
    ),
    protocol.Finished(
        "r",
        "text",
        protocol.FinishReason.STOP,
        protocol.Usage(1, 2, 0),
        protocol.Timings(0.1, 0.2, 0.3),
        (protocol.TokenLogprob("a", -0.5, (("b", -1.5),)),),
    ),
    protocol.Failed("r", ErrorCode.CANCELLED, "cancelled"),
    protocol.TokenEvent("x", 0),
    protocol.Exit(),
]


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_survives_both_wires(message: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wire.send(ours, message)
        assert wire.receive(theirs) == message
    assert wire.decode_json(wire.encode_json(message)) == message


def test_every_word_of_the_protocol_has_its_own_name() -> None:
    unions = (protocol.EngineCommand, protocol.EngineEvent, protocol.StreamEvent)
    names = [cls.__name__ for union in unions for cls in typing.get_args(union)]
    assert len(names) == len(set(names))


def test_a_closed_channel_reads_as_nothing() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.close()
        assert wire.receive(theirs) is None


def test_a_frame_that_claims_to_be_huge_is_refused_unread() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(struct.pack(">I", wire.MAX_FRAME_BYTES + 1))
        with pytest.raises(wire.WireError, match="over the limit"):
            wire.receive(theirs)


@pytest.mark.parametrize(
    "body",
    [
        ["Nothing", {}],
        ["Cancel", {"request_id": 5}],
        ["Cancel", {}],
        "text",
        5,
        ["__class__", {}],
    ],
    ids=str,
)
def test_what_is_no_message_is_refused(body: Any) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        data = msgspec.msgpack.encode(body)
        ours.sendall(struct.pack(">I", len(data)) + data)
        with pytest.raises(wire.WireError):
            wire.receive(theirs)


def test_a_job_travels_through_celery_as_plain_json() -> None:
    job = protocol.GenerationJob(
        "1",
        1,
        "req",
        "m",
        protocol.Prompt(text="x"),
        protocol.SamplingParams(stop=("a",)),
        1.0,
        2.0,
    )
    fields = msgspec.json.decode(msgspec.json.encode(wire.to_builtins(job)))
    assert wire.from_builtins(protocol.GenerationJob, fields) == job
    with pytest.raises(wire.WireError, match="GenerationJob"):
        wire.from_builtins(protocol.GenerationJob, fields | {"attempt": "one"})


# ------------------------------------------------------------------ many frames at a time


class _Pieces:
    """A socket whose peer's bytes come in pieces of this length."""

    def __init__(self, data: bytes, length: int) -> None:
        self._left = [data[start : start + length] for start in range(0, len(data), length)]

    def recv(self, size: int) -> bytes:
        return self._left.pop(0) if self._left else b""


@pytest.mark.parametrize("piece", [1, 3, 7, 64, 10_000])
def test_frames_are_read_whole_however_they_are_cut(piece: int) -> None:
    data = b"".join(map(wire.encode_frame, SAMPLES))
    frames, found = wire.FrameReader(_Pieces(data, piece)), []  # type: ignore[arg-type]
    while (messages := frames.read()) is not None:
        assert messages, "a read brings something or the end"
        found += messages
    assert found == SAMPLES


def test_what_came_whole_is_read_before_what_is_cut_off() -> None:
    ours, theirs = socket.socketpair()
    first, second = map(wire.encode_frame, SAMPLES[:2])
    with theirs:
        ours.sendall(first + second[:-1])
        frames = wire.FrameReader(theirs)
        assert frames.read() == SAMPLES[:1]
        ours.close()
        assert frames.read() is None


def test_many_frames_are_read_in_order_while_they_are_sent() -> None:
    ours, theirs = socket.socketpair()
    sent = [protocol.TokenEvent("x" * (number % 97), number) for number in range(5000)]

    def send() -> None:
        for message in sent:
            wire.send(ours, message)
        ours.close()

    sender = threading.Thread(target=send)
    sender.start()
    frames, found = wire.FrameReader(theirs), []
    with theirs:
        while (messages := frames.read()) is not None:
            found += messages
    sender.join()
    assert found == sent


@pytest.mark.parametrize(
    "data", [struct.pack(">I", wire.MAX_FRAME_BYTES + 1), struct.pack(">I", 3) + b"abc"]
)
def test_bytes_that_are_no_frame_are_refused_by_the_reader(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(data)
        with pytest.raises(wire.WireError):
            wire.FrameReader(theirs).read()
