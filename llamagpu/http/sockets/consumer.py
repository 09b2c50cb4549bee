"""A WebSocket of the portal: lets its caller in, bounds what comes and goes, and ends it with a reason."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from llamagpu.http.errors import AppError, as_app_error, internal_error
from llamagpu.http.permissions import LimitGroup, Rule
from llamagpu.http.refusals import Refusal, describe_rule, report
from llamagpu.http.request_threads import in_request_thread
from llamagpu.http.sockets.caller import Authenticate, SocketCaller
from llamagpu.http.sockets.close_codes import CloseCode, close_code_of
from llamagpu.http.sockets.messages import read_message, write_error
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.log_format import current_request_id
from llamagpu.lib.token_bucket import TokenBucket

logger = logging.getLogger(__name__)

#: Seconds for a client to read one message; who reads slower would only fill the server's memory.
SEND_TIMEOUT = 30.0
_SLOW = "The client does not read what is sent to it."


class PortalConsumer(AsyncConsumer):
    """Subclasses set the attributes and say what happens when it opens, is written to and closes.

    Who may not come in is accepted, told why and closed: before that browsers would not learn the code.
    """

    #: Where it is, for the audit log; what a caller needs; the longest message.
    route: str
    rule: Rule
    most_bytes = 16_384
    #: Messages a second, in the long run and at once.
    message_rate, message_burst = 10.0, 40

    caller: SocketCaller

    def __init__(self, authenticate: Authenticate, subprotocol: str) -> None:
        self._authenticate = authenticate
        self._subprotocol = subprotocol
        self._bucket = TokenBucket(self.message_rate, self.message_burst)
        self._kept = ExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_open = False
        self._is_ending = False
        self.request_id = f"req_{secrets.token_hex(12)}"

    async def opened(self) -> None:
        """The caller is in."""

    async def received(self, message: dict[str, Any]) -> None:
        """The caller has sent an object. What is raised becomes an error message."""
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        except asyncio.CancelledError:  # the server goes down
            await self.close(CloseCode.GOING_AWAY)
            raise
        finally:
            self._is_open = False
            for task in self._tasks:
                task.cancel()
            self._kept.close()

    async def dispatch(self, message: Any) -> None:
        """As Channels', but without a thread's turn for each message: no connection is used here."""
        await getattr(self, get_handler_name(message))(message)

    async def websocket_connect(self, message: Any) -> None:
        current_request_id.set(self.request_id)
        try:
            await self._admit()
        except Exception as exception:  # noqa: BLE001  whatever it is: the caller stays outside
            await self._accept()
            await self.end(self._explain(exception))
            return
        await self._accept()
        self._is_open = True
        await self.opened()

    async def websocket_receive(self, message: Any) -> None:
        if not self._is_open:
            return
        if not self._bucket.take():
            await self.end(AppError(ErrorCode.RATE_LIMIT_EXCEEDED, "Too many messages a second."))
            return
        content: dict[str, Any] = {}
        try:
            content = read_message(message.get("text"), self.most_bytes)
            await self.received(content)
        except Exception as exception:  # noqa: BLE001  a wrong message ends nothing
            error = self._explain(exception)
            if error.code is ErrorCode.CONTENT_TOO_LARGE:
                await self.end(error)
            else:
                await self.tell_error(error, content)

    async def websocket_disconnect(self, message: Any) -> None:
        raise StopConsumer

    async def tell_error(self, error: AppError, message: dict[str, Any]) -> None:
        """Send an error that ends nothing; it names the message by the caller's id of it."""
        await self.send_text(write_error(error, self.request_id, id=id_of(message)))

    async def send_text(self, text: str) -> None:
        """Send one message; ends the socket of who does not read it."""
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self.base_send({"type": "websocket.send", "text": text})
        except TimeoutError:
            logger.info("a socket is closed: %s", _SLOW)
            await self.close(CloseCode.OVERLOADED)
        except OSError:  # it has gone meanwhile: the server is about to say so
            self._is_open = False

    async def end(self, error: AppError) -> None:
        """Tell the caller why, and close with the code of that."""
        if self._is_ending:
            return
        await self.send_text(write_error(error, self.request_id))
        await self.close(close_code_of(error))

    async def close(self, code: CloseCode) -> None:
        """Once."""
        if self._is_ending:
            return
        self._is_ending, self._is_open = True, False
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await self.base_send({"type": "websocket.close", "code": int(code)})
        except (TimeoutError, OSError):
            logger.debug("a socket went before it could be closed")

    def watch(self, rule: Rule) -> None:
        """End the socket once its caller has lost `rule`."""

        def on_lost(error: AppError) -> None:
            self.start_task(self.end(error))

        self._kept.enter_context(self.caller.watch(rule, on_lost))

    def start_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Something beside the reading of messages, which ends with the socket."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _admit(self) -> None:
        """Raises AppError for who may not come in."""
        self.caller = await self._authenticate(self.scope, None)
        if not self.caller.allows(self.rule):
            reason = "Your role or your key does not allow this."
            refusal = Refusal(self.caller.user, "GET", self.route, describe_rule(self.rule), reason)
            await in_request_thread(report)(refusal)
            raise AppError(ErrorCode.PERMISSION_DENIED, reason)
        await self.caller.count(LimitGroup.SYSTEM)
        self._kept.enter_context(self.caller.take_place())
        self.watch(self.rule)

    async def _accept(self) -> None:
        offered = self.scope.get("subprotocols") or ()
        chosen = self._subprotocol if self._subprotocol in offered else None
        try:
            await self.base_send({"type": "websocket.accept", "subprotocol": chosen})
        except OSError:
            logger.debug("a caller left before the socket was open")

    def _explain(self, exception: Exception) -> AppError:
        error = as_app_error(exception)
        if error is None:
            logger.error("unhandled exception of a socket", exc_info=exception)
            error = internal_error()
        return error


def id_of(message: dict[str, Any]) -> str | None:
    """The caller's id of its message, where that is one."""
    given = message.get("id")
    return given if isinstance(given, str) and len(given) <= 128 else None


class NoSuchSocket(AsyncConsumer):
    """Every address that has no socket: the handshake is refused, as a page would be a 404."""

    async def dispatch(self, message: Any) -> None:
        if message["type"] == "websocket.connect":
            await self.base_send({"type": "websocket.close"})
        elif message["type"] == "websocket.disconnect":
            raise StopConsumer
