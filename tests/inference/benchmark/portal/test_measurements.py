"""Series of the portal's benchmark, against a server that only streams."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from inference.benchmark.portal.measurements import (
    Figure,
    NothingMeasuredError,
    Work,
    measure_streams,
)
from inference.benchmark.portal.own_stack import OwnStack

STREAMS, TOKENS = 3, 4
_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@asynccontextmanager
async def server(at_once: int, tokens: int = TOKENS) -> AsyncIterator[OwnStack]:
    """Streams `tokens` tokens to each caller, to `at_once` of them at the same time."""
    places = asyncio.Semaphore(at_once)
    begun = asyncio.Barrier(at_once)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        async with places:
            writer.write(_HEAD)
            for number in range(tokens):
                _write(writer, {"token": f"{time.monotonic_ns()} ", "is_complete": False})
                if number == 0:
                    await begun.wait()
            _write(writer, {"token": "", "is_complete": True})
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        yield OwnStack(port, "key", 0, 0, "")


def _write(writer: asyncio.StreamWriter, data: dict[str, object]) -> None:
    event = f"data: {json.dumps(data)}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(event), event))


def measure(at_once: int, *, tokens: int = TOKENS) -> Figure:
    async def run() -> Figure:
        async with server(at_once, tokens) as stack:
            return await measure_streams(stack, Work(streams=STREAMS, tokens=TOKENS, pause_ms=1))

    return asyncio.run(run())


def test_tokens_count_that_were_sent_while_all_streams_were_open() -> None:
    figure = measure(at_once=STREAMS)
    assert figure.errors == 0
    assert 0 < figure.count <= STREAMS * TOKENS
    assert figure.median is not None


def test_streams_that_are_never_open_at_once_are_no_measurement() -> None:
    with pytest.raises(NothingMeasuredError, match="never open at once"):
        measure(at_once=1)


def test_a_stream_that_lacks_tokens_is_an_error() -> None:
    assert measure(at_once=STREAMS, tokens=TOKENS - 1).errors == STREAMS


def test_a_series_without_values_is_no_measurement() -> None:
    with pytest.raises(NothingMeasuredError, match="nothing was measured"):
        measure(at_once=STREAMS, tokens=0)
