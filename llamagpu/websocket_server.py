"""daphne's WebSockets with bounds, in both directions.

daphne writes whatever an application sends into memory until the client reads it, and queues whatever a
client sends until the application takes it. Here `send` waits while the client has much to read, and a
client that sends faster than it is listened to is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from django.conf import settings

logger = logging.getLogger(__name__)

#: Seconds for a client to read what waits for it, about 64 KiB, before it is cut off.
READ_TIMEOUT = 60.0
#: Messages of a client that may wait for the application.
MAX_WAITING = 64


class BoundedWebSocket(WebSocketProtocol):
    """One socket, and its transport's producer: it is told when there is enough to send."""

    # Set while nothing, or not much, waits for the client to read it.
    _is_drained: asyncio.Event | None = None

    def makeConnection(self, transport: Any) -> None:
        # The connection began as HTTP, which is its producer still.
        transport.unregisterProducer()
        super().makeConnection(transport)
        transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        if self._is_drained is None:
            self._is_drained = asyncio.Event()
        self._is_drained.clear()

    def resumeProducing(self) -> None:
        if self._is_drained is not None:
            self._is_drained.set()

    def stopProducing(self) -> None:
        self.resumeProducing()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        if self.application_queue.qsize() >= MAX_WAITING:
            logger.info("a client that sent faster than it was listened to was cut off")
            self.muted = True
            self.dropConnection(abort=True)
            self.application_queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
            return
        super().onMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.resumeProducing()
        super().onClose(wasClean, code, reason)

    def serverClose(self, code: int | None = None) -> None:
        # Not by `sendClose`, which knows none of the standard's codes for "overloaded" and the like.
        self.sendCloseFrame(code=1000 if code is None else code)

    async def drained(self) -> None:
        """Wait while much is on its way to the client; one that does not read in time is cut off."""
        if self._is_drained is None or self._is_drained.is_set():
            return
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                await self._is_drained.wait()
        except TimeoutError:
            logger.info("a client that did not read from its socket was cut off")
            self.dropConnection(abort=True)


class BoundedWebSocketFactory(WebSocketFactory):
    """Makes sockets of the kind above, whose messages are no longer than the longest body."""

    protocol = BoundedWebSocket

    def setProtocolOptions(self, **options: Any) -> None:
        most = settings.LLAMA.max_body_bytes
        options |= {
            "maxMessagePayloadSize": most,
            "maxFramePayloadSize": most,
            "failByDrop": False,  # whoever sends too much is told so by the close code
        }
        super().setProtocolOptions(**options)
