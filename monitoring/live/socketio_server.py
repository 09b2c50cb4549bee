"""`/socket.io/`: the live streams for clients of Socket.IO, by the SDD's event names.

The client is let in by its key in `auth` (`{"key": "..."}`), its headers or its session, as everywhere. It
then emits `subscribe` and `unsubscribe` with `{"streams": [...]}` and gets an event named as the stream for
each of the stream's events; `monitor_request` is answered by `monitor_data`. Only the WebSocket
transport is served: the other one would need all requests of a client to reach the same process.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import socketio
from django.conf import settings
from rest_framework.exceptions import ValidationError
from socketio.exceptions import ConnectionRefusedError as Refused

from llamagpu.http.errors import AppError, as_app_error, internal_error
from llamagpu.http.permissions import LimitGroup
from llamagpu.http.sockets.caller import Authenticate
from llamagpu.http.sockets.messages import error_data
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.log_format import current_request_id
from monitoring.live.feed import feed_of_this_loop
from monitoring.live.socketio_link import LINK, MOST_BYTES, Link
from monitoring.live.socketio_watchers import Rooms, Watcher
from monitoring.live.streams import (
    LATEST_ONLY,
    RoomRequest,
    allowed_streams,
    check_allowed,
    rules_of,
)
from monitoring.live_events import SYSTEM_METRICS

logger = logging.getLogger(__name__)

# The library logs whatever a client sends amiss, with a traceback. What goes wrong here is logged here.
_silent = logging.getLogger("llamagpu.socketio.library")
_silent.setLevel(logging.CRITICAL + 1)

_PING_INTERVAL, _PING_TIMEOUT = 20, 20
_PATIENCE = 2.0


class SocketIoApplication:
    """The ASGI application of the WebSockets under `/socket.io/`."""

    def __init__(self, authenticate: Authenticate) -> None:
        self._authenticate = authenticate
        self._watchers: dict[str, Watcher] = {}
        self._rooms: Rooms | None = None
        self.server = socketio.AsyncServer(
            async_mode="asgi",
            transports=["websocket"],
            # Whoever emits from another process does it over this channel; our own events do not.
            client_manager=socketio.AsyncRedisManager(
                settings.REDIS_URL,
                channel="lg:socketio",
                redis_options={
                    "socket_timeout": None,
                    "socket_connect_timeout": 3,
                    "health_check_interval": 25,
                },
            ),
            cors_allowed_origins=[],  # `authenticate` looks at origins
            max_http_buffer_size=MOST_BYTES,
            ping_interval=_PING_INTERVAL,
            ping_timeout=_PING_TIMEOUT,
            async_handlers=False,
            logger=_silent,
            engineio_logger=_silent,
        )
        self.server.on("connect", self._connect)
        self.server.on("disconnect", self._disconnect)
        for name, work in (
            ("subscribe", self._subscribe),
            ("unsubscribe", self._unsubscribe),
            ("monitor_request", self._monitor),
        ):
            self.server.on(name, self._answering(work))
        self.server.on("*", self._unknown)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        link = Link(receive, send)
        inner = {**scope, LINK: link}
        try:
            await self.server.eio.handle_request(inner, link.receive, link.send)
        except ValueError as error:  # what a client sent is no packet
            logger.info("a client of Socket.IO was cut off: %s", error)
        finally:
            link.is_admitted = False

    async def _connect(self, sid: str, environ: Any, auth: Any) -> None:
        scope = environ["asgi.scope"]
        current_request_id.set(f"req_{secrets.token_hex(12)}")
        try:
            caller = await self._authenticate(scope, _key_of(auth))
            if not allowed_streams(caller):
                message = "Your role or your key allows none of the streams."
                raise AppError(ErrorCode.PERMISSION_DENIED, message)
            await caller.count(LimitGroup.SYSTEM)
            watcher = Watcher(caller, scope[LINK])
            watcher.kept.enter_context(caller.take_place())
        except Exception as exception:  # noqa: BLE001  whatever it is: the caller stays outside
            error = _explain(exception)
            raise Refused(error.message, error_data(error, current_request_id.get())) from None
        watcher.kept.enter_context(feed_of_this_loop().open())
        watcher.link.is_admitted = True
        self._watchers[sid] = watcher

    async def _disconnect(self, sid: str, reason: Any = None) -> None:
        watcher = self._watchers.pop(sid, None)
        if watcher is None:
            return
        for stream in tuple(watcher.streams):
            self._all_rooms().forget(watcher, stream)
        watcher.kept.close()

    async def _subscribe(self, sid: str, watcher: Watcher, data: Any) -> dict[str, Any]:
        streams = _streams_of(data)
        watcher.caller = await watcher.caller.fresh()
        check_allowed(watcher.caller, streams)
        await feed_of_this_loop().become_current(_PATIENCE)
        for rule in rules_of(streams) - watcher.watched:
            watcher.watched.add(rule)
            watcher.kept.enter_context(
                watcher.caller.watch(rule, lambda error: self._end_soon(sid, error))
            )
        for stream in streams:
            await self._all_rooms().enter(sid, watcher, stream)
            latest = feed_of_this_loop().latest(stream)
            if stream in LATEST_ONLY and latest is not None:
                await self.server.emit(stream, latest.envelope, to=sid, ignore_queue=True)
        return {"success": True, "streams": sorted(watcher.streams)}

    async def _unsubscribe(self, sid: str, watcher: Watcher, data: Any) -> dict[str, Any]:
        for stream in _streams_of(data):
            await self._all_rooms().leave(sid, watcher, stream)
        return {"success": True, "streams": sorted(watcher.streams)}

    async def _monitor(self, sid: str, watcher: Watcher, data: Any) -> dict[str, Any]:
        """The SDD's question: the newest metrics of the system, null before there are any."""
        if data not in (None, {}):
            raise ValidationError({"data": ["Nothing can be asked for here: leave it out."]})
        watcher.caller = await watcher.caller.fresh()
        check_allowed(watcher.caller, [SYSTEM_METRICS])
        await feed_of_this_loop().become_current(_PATIENCE)
        latest = feed_of_this_loop().latest(SYSTEM_METRICS)
        envelope = None if latest is None else latest.envelope
        await self.server.emit("monitor_data", envelope, to=sid, ignore_queue=True)
        return {"success": True}

    async def _unknown(self, event: str, sid: str, *data: Any) -> dict[str, Any]:
        known = "subscribe, unsubscribe, monitor_request"
        error = AppError(
            ErrorCode.INVALID_INPUT, f"There is no event of that name; there are {known}."
        )
        return error_data(error, current_request_id.get())

    def _answering(
        self, work: Callable[[str, Watcher, Any], Awaitable[dict[str, Any]]]
    ) -> Callable[..., Awaitable[dict[str, Any]]]:
        """The handler whose answer, or error, becomes the acknowledgement."""

        async def handle(sid: str, *data: Any) -> dict[str, Any]:
            try:
                if len(data) > 1:
                    raise ValidationError({"data": ["Must be one object."]})
                return await work(sid, self._watchers[sid], data[0] if data else None)
            except Exception as exception:  # noqa: BLE001  a wrong event ends nothing
                return error_data(_explain(exception), current_request_id.get())

        return handle

    def _end_soon(self, sid: str, error: AppError) -> None:
        self.server.start_background_task(self._end, sid, error)

    async def _end(self, sid: str, error: AppError) -> None:
        """Tell the client why, and let it go."""
        data = error_data(error, current_request_id.get())
        await self.server.emit("error", data, to=sid, ignore_queue=True)
        await self.server.disconnect(sid, ignore_queue=True)

    def _all_rooms(self) -> Rooms:
        if self._rooms is None:
            self._rooms = Rooms(self.server, feed_of_this_loop())
        return self._rooms


def _key_of(auth: Any) -> str | None:
    """The key of the client's `auth`, None where it has none. Raises AppError."""
    if auth is None or auth == {}:
        return None
    if not isinstance(auth, dict) or set(auth) != {"key"} or not isinstance(auth["key"], str):
        raise AppError(ErrorCode.INVALID_INPUT, 'auth: must be {"key": "<key>"}.')
    return str(auth["key"])


def _streams_of(data: Any) -> list[str]:
    request = RoomRequest(data=data)
    request.is_valid(raise_exception=True)
    return list(request.validated_data["streams"])


def _explain(exception: Exception) -> AppError:
    error = as_app_error(exception)
    if error is None:
        logger.error("unhandled exception of a client of Socket.IO", exc_info=exception)
        error = internal_error()
    return error
