"""Server-Sent Events of an upstream: their data, bounded in every direction."""

from __future__ import annotations

from collections.abc import AsyncIterator

from inference.worker.remote.failures import garbage

MAX_LINE_BYTES = 1024 * 1024
DONE = b"[DONE]"


async def read_events(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    """The data of each event as it comes; comments and other fields are passed over.

    Raises RemoteFailure for a line beyond `MAX_LINE_BYTES` and a stream beyond `max_bytes`.
    """
    held = bytearray()
    searched = total = 0
    async for chunk in chunks:
        held += chunk
        total += len(chunk)
        if total > max_bytes:
            raise garbage()
        while (end := held.find(b"\n", searched)) >= 0:
            line = bytes(held[:end]).rstrip(b"\r")
            del held[: end + 1]
            searched = 0
            if line.startswith(b"data:"):
                yield line[5:].strip()
        searched = len(held)
        if searched > MAX_LINE_BYTES:
            raise garbage()
