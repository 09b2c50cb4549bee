"""The bounds of a Socket.IO connection, set around the server that speaks the protocol.

That server lets anybody hold a connection and believes that every client reads. Here a connection that has
not been let in ends after a while, one that sends too much or too fast is closed, and so is one that
does not read.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from llamagpu.http.sockets.close_codes import CloseCode
from llamagpu.http.sockets.consumer import SEND_TIMEOUT
from llamagpu.lib.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

#: Where a connection's `Link` stands in its scope.
LINK = "llamagpu.link"
#: Seconds for a client to be let in.
ADMISSION_TIMEOUT = 5.0
#: Longest message of a client, and how many a second, in the long run and at once.
MOST_BYTES = 16_384
_RATE, _BURST = 10.0, 40
# Engine.IO's mark of a message and Socket.IO's of the first packet, which asks to be let in.
_CONNECT = "40"

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
_GONE = {"type": "websocket.disconnect", "code": 1006}


class Link:
    """One connection, between the web server and the Socket.IO server."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._bucket = TokenBucket(_RATE, _BURST)
        self._deadline = asyncio.get_running_loop().time() + ADMISSION_TIMEOUT
        self._has_asked = False
        self._ended = asyncio.Event()
        self.is_admitted = False

    async def receive(self) -> Any:
        """The next message that may pass; the end of the connection for one that may not."""
        while not self._ended.is_set():
            event = await self._next_event()
            if event["type"] != "websocket.receive":
                return event
            text = event.get("text")
            if text is None or len(text) > MOST_BYTES:
                await self.end(CloseCode.TOO_BIG)
            elif not self._bucket.take():
                await self.end(CloseCode.TOO_FAST)
            elif not text.startswith(_CONNECT):
                return event
            elif not self._has_asked:  # to be let in again would have to be undone twice
                self._has_asked = True
                return event
        return _GONE

    async def send(self, message: Any) -> None:
        if self._ended.is_set() and message["type"] != "websocket.close":
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._send(message)
        except TimeoutError:
            await self.end(CloseCode.OVERLOADED)

    async def end(self, code: CloseCode) -> None:
        """Close it, once."""
        if self._ended.is_set():
            return
        self._ended.set()
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self._send({"type": "websocket.close", "code": int(code)})
        except (TimeoutError, OSError):
            logger.debug("a connection went before it could be closed")

    async def _next_event(self) -> Any:
        """What comes, or the end: of the connection, or of the time to be let in."""
        message = asyncio.ensure_future(self._receive())
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            left = self._deadline - asyncio.get_running_loop().time()
            await asyncio.wait(
                {message, ended},
                timeout=None if self.is_admitted else max(0.0, left),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if message.done():
                return message.result()
            if not self.is_admitted:
                await self.end(CloseCode.NOT_AUTHENTICATED)
            return _GONE
        finally:
            message.cancel()
            ended.cancel()
