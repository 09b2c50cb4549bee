"""An application that sends without an end, and tells how far it has come: `web_server`'s counterpart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

BLOCK = b"x" * 65536
state = {"sent": 0, "open": 0}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """GET /state tells, /numbers counts up to its end, everything else is endless."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/state":
        await send({"type": "http.response.body", "body": json.dumps(state).encode()})
        return
    if scope["path"] == "/numbers":
        for piece in numbered_pieces():
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})
        return
    gone = asyncio.create_task(wait_for_disconnect(receive))
    state["open"] += 1
    while not gone.done():
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        state["sent"] += len(BLOCK)
        await asyncio.sleep(0)
    state["open"] -= 1


def numbered_pieces() -> Iterator[bytes]:
    """Small and large ones in turn, three megabytes together, and none that is like another."""
    for number in range(400):
        yield b"%d," % number
        yield b"%d," % number * (number * 10)


async def wait_for_disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
