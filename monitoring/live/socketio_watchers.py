"""Who watches over Socket.IO, and the rooms through which events reach them.

A room is a stream. Each process tells its own clients what its own feed brings: nothing is sent over Redis
twice.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import ExitStack
from typing import Any

from llamagpu.http.permissions import Access
from llamagpu.http.sockets.caller import SocketCaller
from llamagpu.http.sockets.close_codes import CloseCode
from monitoring.live.feed import Feed, Frame
from monitoring.live.outbox import Outbox
from monitoring.live.socketio_link import LINK, Link
from monitoring.live.streams import LATEST_ONLY

NAMESPACE = "/"
#: Packets that may wait for one client; who reads slower is closed.
MAX_QUEUED = 64


class Watcher:
    """One client: who it is, what it holds while it is here, and the streams that it watches."""

    def __init__(self, caller: SocketCaller, link: Link) -> None:
        self.caller = caller
        self.link = link
        self.kept = ExitStack()
        self.streams: set[str] = set()
        self.watched: set[Access] = set()


class Rooms:
    """All watchers of one event loop (`monitoring.live.feed.Follower`)."""

    def __init__(self, server: Any, feed: Feed) -> None:
        self._server = server
        self._feed = feed
        self._num_in: dict[str, int] = {}
        self._waiting: Outbox[Frame] = Outbox()
        self._teller: asyncio.Task[None] | None = None

    async def enter(self, sid: str, watcher: Watcher, stream: str) -> None:
        if stream in watcher.streams:
            return
        watcher.streams.add(stream)
        self._num_in[stream] = self._num_in.get(stream, 0) + 1
        self._feed.add(self, stream)
        await self._server.enter_room(sid, stream)
        if self._teller is None or self._teller.done():
            self._teller = asyncio.get_running_loop().create_task(
                self._tell_all(), context=contextvars.Context()
            )

    async def leave(self, sid: str, watcher: Watcher, stream: str) -> None:
        if stream not in watcher.streams:
            return
        self.forget(watcher, stream)
        await self._server.leave_room(sid, stream)

    def forget(self, watcher: Watcher, stream: str) -> None:
        """The client is gone, and its rooms with it."""
        watcher.streams.discard(stream)
        self._num_in[stream] -= 1
        if not self._num_in[stream]:
            del self._num_in[stream]
            self._feed.remove(self, stream)
        if not self._num_in and self._teller is not None:
            self._teller.cancel()
            self._teller = None

    def put(self, frame: Frame) -> None:
        if frame.stream in LATEST_ONLY:
            self._waiting.put_latest(frame.stream, frame)
        else:
            self._waiting.put_event(frame.stream, frame)

    def miss(self, stream: str) -> None:
        """Nothing is said of it here: clients of Socket.IO have no ids to go on from."""

    async def _tell_all(self) -> None:
        while True:
            await self._waiting.wait()
            self._waiting.take_missed()
            frame = self._waiting.take()
            if frame is None:
                continue
            await self._close_slow_ones(frame.stream)
            await self._server.emit(
                frame.stream, frame.envelope, room=frame.stream, ignore_queue=True
            )

    async def _close_slow_ones(self, stream: str) -> None:
        for sid, eio_sid in list(self._server.manager.get_participants(NAMESPACE, stream)):
            connection = self._server.eio.sockets.get(eio_sid)
            if connection is not None and connection.queue.qsize() > MAX_QUEUED:
                link: Link = self._server.get_environ(sid)["asgi.scope"][LINK]
                await link.end(CloseCode.OVERLOADED)
