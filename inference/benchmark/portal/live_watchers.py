"""How live events reach many watchers: their delay, and what the web process takes for it.

The events are metrics of a usual size, published once a second as the monitor does.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from dataclasses import dataclass
from typing import Any

import psutil
import redis.asyncio

from inference.benchmark.portal.own_stack import OwnStack
from llamagpu.lib.percentiles import percentiles
from llamagpu.lib.redis_client import async_client
from monitoring.live_events import FIELD, INFERENCE_STATS, SYSTEM_METRICS, key_of

STREAMS = (SYSTEM_METRICS, INFERENCE_STATS)
#: Settings with which one key may open as many sockets as are measured.
ENVIRONMENT = {
    "LLAMA_MAX_SOCKETS": "10000", "LLAMA_MAX_USER_SOCKETS": "10000", "LLAMA_MAX_KEY_SOCKETS": "10000",
}  # fmt: skip
#: About what a machine with two GPUs and a few models tells.
_FILLING = {f"figure_{number}": 12345.678 for number in range(60)}
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class LiveFigures:
    """Delays in milliseconds; `cpu` is the web process's share of one core."""

    watchers: int
    events: int
    delivered: int
    p50_ms: float
    p99_ms: float
    worst_ms: float
    cpu: float
    memory_mib: float


def measure_live(stack: OwnStack, watchers: int, seconds: int) -> LiveFigures:
    """`watchers` sockets watch both streams of metrics for `seconds`."""
    return asyncio.run(_measure(stack, watchers, seconds))


async def _measure(stack: OwnStack, watchers: int, seconds: int) -> LiveFigures:
    delays: list[float] = []
    connections = [await _subscribed(stack) for _ in range(watchers)]
    readers = [asyncio.create_task(_collect(reader, delays)) for reader, _ in connections]
    client = async_client(stack.redis_url)
    process = psutil.Process(stack.web_pid)
    await _publish(client)  # the first one warms everything up
    await asyncio.sleep(_PAUSE)
    delays.clear()
    before, began = sum(process.cpu_times()[:2]), time.monotonic()
    for _ in range(seconds):
        await _publish(client)
        await asyncio.sleep(_PAUSE)
    used = sum(process.cpu_times()[:2]) - before
    elapsed, memory = time.monotonic() - began, process.memory_info().rss
    for task in readers:
        task.cancel()
    for _, writer in connections:
        writer.close()
    await client.aclose()
    figures = percentiles([1000 * delay for delay in delays])
    return LiveFigures(
        watchers=watchers,
        events=seconds * len(STREAMS),
        delivered=len(delays),
        p50_ms=figures["p50"] or 0.0,
        p99_ms=figures["p99"] or 0.0,
        worst_ms=1000 * max(delays, default=0.0),
        cpu=used / elapsed,
        memory_mib=memory / (1 << 20),
    )


async def _publish(client: redis.asyncio.Redis) -> None:
    for stream in STREAMS:
        data = {**_FILLING, "sent_at": time.monotonic()}
        event = {"timestamp": "2026-01-01T00:00:00+00:00", "event_type": stream, "data": data}
        await client.xadd(key_of(stream), {FIELD: json.dumps(event)}, maxlen=1000)


async def _subscribed(stack: OwnStack) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A WebSocket, by hand: the package that speaks it is not among what the portal needs."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
    nonce = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /ws/stream/ HTTP/1.1\r\nHost: 127.0.0.1:{stack.port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {nonce}\r\n"
        f"Authorization: Bearer {stack.key}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 101 " not in head:
        raise ConnectionError(head.decode())
    text = json.dumps({"action": "subscribe", "streams": STREAMS}).encode()
    writer.write(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)
    while (message := await _read_message(reader))["event_type"] != "subscribed":
        if message["event_type"] == "error":
            raise ConnectionError(str(message))
    return reader, writer


async def _collect(reader: asyncio.StreamReader, delays: list[float]) -> None:
    while True:
        sent_at = (await _read_message(reader))["data"].get("sent_at")
        if sent_at is not None:
            delays.append(time.monotonic() - sent_at)


async def _read_message(reader: asyncio.StreamReader) -> dict[str, Any]:
    """The next text; pings and the like are passed over."""
    while True:
        kind, length = await reader.readexactly(2)
        if length == 126:
            length = int.from_bytes(await reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await reader.readexactly(8), "big")
        content = await reader.readexactly(length)
        if kind & 0x0F == 1:
            message: dict[str, Any] = json.loads(content)
            return message
