"""daphne with bounds: `python -m llamagpu.web_server`, with daphne's own options.

daphne reads a whole body before Django sees the request, however large, and drops a connection whose
head is too long without a word. Here a body beyond `DATA_UPLOAD_MAX_MEMORY_SIZE` is refused while it
arrives, with or without a declared length, a head that is too long or too slow gets an answer, and
every refusal is the API's envelope. The address that takes files has a limit of its own, and their bodies
are never in memory as a whole (`llamagpu.http.large_bodies`).
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import secrets
import tempfile
import time
from typing import IO, Any

import daphne.server  # before anything of twisted: it chooses the event loop
from daphne.cli import CommandLineInterface
from daphne.http_protocol import HTTPFactory, WebRequest
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.web.http import HTTPChannel

from llamagpu.http.errors import AppError, error_body
from llamagpu.http.large_bodies import FRAME_BYTES, LARGE_BODY, attach_body, is_large
from llamagpu.http.openai_errors import PREFIX, openai_error
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.processors import keep_to
from llamagpu.web_transport import PromptTransport
from llamagpu.websocket_server import READ_TIMEOUT, BoundedWebSocketFactory

logger = logging.getLogger(__name__)

_reactor: Any = reactor  # twisted's interfaces say less than its objects can

#: Seconds for a request's head to arrive; a slow one would hold a connection for ever.
HEAD_TIMEOUT = 30.0
# A refused sender is listened to for a while: one that is cut off in the middle reads no answer.
_LINGER = 2.0


class BoundedRequest(WebRequest):
    """A request whose body is counted as it arrives."""

    content: IO[bytes]
    is_refused = False
    is_large = False
    _limit = 0
    _num_received = 0

    def gotLength(self, length: int | None) -> None:
        """The head is complete; `length` is None for a chunked body."""
        # Django reads forms. twisted would do so too, and hold a file of 100 MiB ten times in memory.
        self._parsePOSTFormSubmission = False
        self.channel.head_is_complete()
        self.is_large = is_large(self.channel._command, self.channel._path)
        self._limit = _largest_file() if self.is_large else settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if length is not None and length > self._limit:
            self._refuse()
        elif self.is_large:
            self.content = _spool_file()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        self._num_received += len(data)
        if self.is_refused:
            return
        if self._num_received > self._limit:
            self._refuse()
            return
        try:
            super().handleContentChunk(data)
        except OSError as error:
            logger.error("a body could not be written: %s", error)
            self._refuse(
                503,
                b"Service Unavailable",
                ErrorCode.BACKEND_UNAVAILABLE,
                "The server's disk has no room for this body.",
            )

    def take_large_body(self, scope: dict[str, Any]) -> None:
        """Leave the body to the application as the file that it is."""
        attach_body(scope, self.content, self._num_received)
        self.content = io.BytesIO()

    def write_piece(self, data: bytes) -> bool:
        """Whether this was written here: a piece of an answer of no known length, after its head."""
        transport = self.channel.transport if self.channel is not None and self.chunked else None
        if not (isinstance(transport, PromptTransport) and self.startedWriting and data):
            return False
        self.sentLength += len(data)
        transport.write_now((b"%x\r\n" % len(data), data, b"\r\n"))
        return True

    async def drained(self) -> None:
        """Wait while much is on its way to the client."""
        if self.channel is not None:  # None once the request is over
            await self.channel.drained()

    def process(self) -> Any:
        if self.is_refused:
            return self.channel.loseConnection()
        return super().process()

    def _refuse(
        self,
        status: int = 413,
        phrase: bytes = b"Content Too Large",
        code: ErrorCode = ErrorCode.CONTENT_TOO_LARGE,
        message: str = "The request body is larger than this server accepts.",
    ) -> None:
        """Answer at once, throw away what still comes."""
        self.is_refused = True
        self.content = io.BytesIO()
        self.channel.answer(status, phrase, code, message)
        _reactor.callLater(_LINGER, self.channel.loseConnection)


class BoundedChannel(HTTPChannel):
    """One connection. Heads are bounded by twisted: 16 KiB, 500 fields; here they are answered."""

    _head_begun_at: float | None = None
    _is_refused = False
    # Set while nothing, or not much, waits for the client to read it.
    _is_drained: asyncio.Event | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._is_refused:
            return
        now = time.monotonic()
        if self._head_begun_at is None and not self.requests:
            self._head_begun_at = now
        if self._head_begun_at is not None and now - self._head_begun_at > HEAD_TIMEOUT:
            self._refuse_head(408, b"Request Timeout", "The head of the request took too long.")
            return
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if not self._is_refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if not self._is_refused:
            super().rawDataReceived(data)

    def pauseProducing(self) -> None:
        """The transport has enough to send."""
        super().pauseProducing()
        if self._is_drained is None:
            self._is_drained = asyncio.Event()
        self._is_drained.clear()

    def resumeProducing(self) -> None:
        """The client has read what waited for it."""
        super().resumeProducing()
        self._stop_waiting()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._stop_waiting()
        super().connectionLost(reason)

    def _stop_waiting(self) -> None:
        if self._is_drained is not None:
            self._is_drained.set()

    async def drained(self) -> None:
        """Wait while much is on its way to the client; one that does not read in time is cut off."""
        if self._is_drained is None or self._is_drained.is_set():
            return
        try:
            await asyncio.wait_for(self._is_drained.wait(), READ_TIMEOUT)
        except TimeoutError:
            logger.info("a client that did not read its answer was cut off")
            self.forceAbortClient()

    def head_is_complete(self) -> None:
        self._head_begun_at = None

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse_head(
            431, b"Request Header Fields Too Large", "A line of the request's head is too long."
        )

    def _respondToBadRequestAndDisconnect(self) -> None:
        """What twisted does with a head or a chunk that it does not understand, or too many fields."""
        self._refuse_head(
            400, b"Bad Request", "The request is malformed, or its head is too large."
        )

    def _send100Continue(self) -> None:
        if not self.requests[-1].is_refused:
            super()._send100Continue()

    def answer(self, status: int, phrase: bytes, code: ErrorCode, message: str) -> None:
        """The error in the form of its address, written past the request: nothing else was said."""
        request_id = f"req_{secrets.token_hex(12)}"
        logger.info("refused before Django: %d %s (%s)", status, message, request_id)
        path: Any = getattr(self, "_path", None)
        is_openai = isinstance(path, bytes) and path.startswith(PREFIX.encode())
        form = (
            openai_error(AppError(code, message))
            if is_openai
            else error_body(request_id, code, message)
        )
        body = json.dumps(form).encode()
        head = (
            b"HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"Connection: close\r\nX-Request-ID: %s\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        transport: Any = self.transport
        transport.write(head % (status, phrase, len(body), request_id.encode()) + body)

    def _refuse_head(self, status: int, phrase: bytes, message: str) -> None:
        if self._is_refused:
            return
        self._is_refused = True  # what comes after is not looked at: the parser has lost its place
        self.answer(status, phrase, ErrorCode.INVALID_INPUT, message)
        self.setTimeout(None)
        _reactor.callLater(_LINGER, self.loseConnection)


class BoundedFactory(HTTPFactory):
    """Makes connections of the kinds above."""

    protocol = BoundedChannel

    def buildProtocol(self, addr: Any) -> Any:
        channel = super().buildProtocol(addr)
        channel.requestFactory = BoundedRequest
        return channel


class BoundedServer(daphne.server.Server):
    connections: dict[Any, dict[str, Any]]

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """What an application's `send` does: returns once the client has read most of what it got."""
        has_more = message.get("more_body", False)
        if not (has_more and protocol.write_piece(message["body"])):
            await super().handle_reply(protocol, message)
        if has_more or message["type"] == "websocket.send":
            await protocol.drained()

    def run(self) -> None:
        # Threads of Python compute one at a time, and take turns many times as fast on one processor.
        # One that wanders also displaces each thread of a model that is computed here in turn.
        keep_to(settings.LLAMA.web_cores)
        # It has no other place to name factories.
        daphne.server.HTTPFactory = BoundedFactory
        daphne.server.WebSocketFactory = BoundedWebSocketFactory
        super().run()

    def listen_success(self, port: Any) -> None:
        """A TCP port makes connections of our kind."""
        if port.transport is Server:
            port.transport = PromptTransport
        super().listen_success(port)

    def kill_all_applications(self) -> Any:
        """End all that runs. daphne trips over a connection whose application has just ended, or has
        handed it on to a WebSocket, and would then end nothing."""
        self.connections = {
            protocol: details
            for protocol, details in self.connections.items()
            if "application_instance" in details
        }
        return super().kill_all_applications()

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if getattr(protocol, "is_large", False):
            protocol.take_large_body(scope)
        return super().create_application(protocol, scope)


def _spool_file() -> IO[bytes]:
    """It has no name, so whatever ends the request ends it too."""
    return tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)


def _largest_file() -> int:
    """What one body of the large kind may hold. Read at use: the setting changes while this runs."""
    from monitoring.configuration import current  # tables, which are there once Django is set up

    return int(getattr(current(), LARGE_BODY[2])) + FRAME_BYTES


class BoundedCommandLine(CommandLineInterface):
    server_class = BoundedServer


def main() -> None:
    """Run until a signal."""
    BoundedCommandLine.entrypoint()


if __name__ == "__main__":
    main()
