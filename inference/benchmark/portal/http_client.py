"""HTTP/1.1 calls over kept connections, with as little work of our own as can be.

The client shares the cores with the portal that it measures: what it costs is counted as the portal's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection, kept open between calls."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Raises OSError and asyncio.IncompleteReadError."""
        status, headers, reader = await self._begin(path, body)
        if headers.get("transfer-encoding") == "chunked":
            data = b"".join([chunk async for chunk in _chunks(reader)])
        else:
            data = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            await self.close()
        return Answer(status, headers, data)

    async def stream(self, path: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
        """The pieces of a chunked answer as they come. Raises RuntimeError for any other answer."""
        status, headers, reader = await self._begin(path, body)
        if status != 200 or headers.get("transfer-encoding") != "chunked":
            raise RuntimeError(f"a stream was answered with {status}")
        async for chunk in _chunks(reader):
            yield chunk

    async def close(self) -> None:
        if self._ends is not None:
            self._ends[1].close()
        self._ends = None

    async def _begin(
        self, path: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, str], asyncio.StreamReader]:
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._ends
        payload = json.dumps(body).encode()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self._key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
        )
        writer.write(head.encode() + payload)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines[1:] if line)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        return int(lines[0].split()[1]), headers, reader


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while True:
        size = int(await reader.readline(), 16)
        data = await reader.readexactly(size + 2)
        if size == 0:
            return
        yield data[:-2]
