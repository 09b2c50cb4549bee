"""The engine's end of the pipe to its worker."""

from __future__ import annotations

import logging
import os
import socket
import threading
from typing import NoReturn

from inference.protocol import EngineCommand, EngineEvent
from inference.wire import WireError, encode_frame, receive

logger = logging.getLogger(__name__)

EXIT_PEER_GONE = 0
EXIT_PROTOCOL_ERROR = 3


class Channel:
    """Frames over a socket. Sending is thread-safe; one thread receives.

    Without its worker an engine has no purpose and must not live on holding memory, so the end of
    the pipe ends the process at once, whatever its other threads do.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def send(self, events: list[EngineEvent]) -> None:
        """Write the events in order, in one piece. Ends the process where the worker is gone."""
        data = b"".join(encode_frame(event) for event in events)
        try:
            with self._lock:
                self._connection.sendall(data)
        except OSError:
            leave(EXIT_PEER_GONE, "the worker is gone")

    def receive(self) -> EngineCommand:
        """The next command. Ends the process at end of file and on bytes that are no frame."""
        try:
            command: EngineCommand | None = receive(self._connection)
        except WireError as error:
            leave(EXIT_PROTOCOL_ERROR, f"the worker speaks another language: {error}")
        except OSError:
            leave(EXIT_PEER_GONE, "the worker is gone")
        if command is None:
            leave(EXIT_PEER_GONE, "the worker closed the pipe")
        return command


def leave(status: int, reason: str) -> NoReturn:
    """End the process now: no thread is waited for, no destructor of a device runs."""
    logger.info("exit: %s", reason)
    logging.shutdown()
    os._exit(status)
