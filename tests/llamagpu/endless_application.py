"""An application that sends without an end, and tells how far it has come: `web_server`'s counterpart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

BLOCK = b"x" * 65536
state = {"sent": 0, "open": 0}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """GET /state tells, everything else is endless."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/state":
        await send({"type": "http.response.body", "body": json.dumps(state).encode()})
        return
    gone = asyncio.create_task(wait_for_disconnect(receive))
    state["open"] += 1
    while not gone.done():
        await send({"type": "http.response.body", "body": BLOCK, "more_body": True})
        state["sent"] += len(BLOCK)
        await asyncio.sleep(0)
    state["open"] -= 1


async def wait_for_disconnect(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
