from __future__ import annotations

import socket
import struct
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
