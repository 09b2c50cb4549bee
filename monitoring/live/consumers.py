"""`/ws/stream/`: what happens now, as Channels sends it to browsers and programs."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from rest_framework.exceptions import ValidationError

from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Access, SignedIn
from llamagpu.http.sockets.close_codes import CloseCode
from llamagpu.http.sockets.consumer import PortalConsumer
from llamagpu.http.sockets.messages import HEARTBEAT, write_message
from llamagpu.lib.error_codes import ErrorCode
from monitoring.live.feed import Feed, Frame, feed_of_this_loop, parse_place
from monitoring.live.outbox import Outbox
from monitoring.live.streams import (
    ACTIONS,
    LATEST_ONLY,
    RULES,
    PingRequest,
    StreamRequest,
    SubscribeRequest,
    allowed_streams,
    check_allowed,
)

#: Seconds without a message after which one says that all is well.
HEARTBEAT_AFTER = 15.0
#: Seconds that a socket may stay open without watching anything.
IDLE_TIMEOUT = 60.0
# A process that has just begun to read the streams knows what they hold after one question.
_PATIENCE = 2.0


class StreamConsumer(PortalConsumer):
    """One watcher (`monitoring.live.feed.Follower`)."""

    route = "ws/stream/"
    rule = SignedIn()

    _feed: Feed

    def __init__(self, **kept: Any) -> None:
        super().__init__(**kept)
        self._outbox: Outbox[str] = Outbox()
        self._with_ids: dict[str, bool] = {}
        self._watched: set[Access] = set()
        self._idle_since = time.monotonic()

    async def opened(self) -> None:
        if not allowed_streams(self.caller):
            message = "Your role or your key allows none of the streams."
            await self.end(AppError(ErrorCode.PERMISSION_DENIED, message))
            return
        self._feed = feed_of_this_loop()
        self._kept.enter_context(self._feed.open())
        self._kept.callback(self._leave, tuple(RULES))
        self.start_task(self._send_all())

    async def received(self, message: dict[str, Any]) -> None:
        action = message.get("action")
        if action == "subscribe":
            await self._subscribe(message)
        elif action == "unsubscribe":
            fields = _checked(StreamRequest(data=message))
            self._leave(fields["streams"])
            self._answer("unsubscribed", message)
        elif action == "ping":
            _checked(PingRequest(data=message))
            self._answer("pong", message)
        else:
            raise ValidationError({"action": [f"Must be one of {', '.join(ACTIONS)}."]})

    async def _subscribe(self, message: dict[str, Any]) -> None:
        fields = _checked(SubscribeRequest(data=message))
        self.caller = await self.caller.fresh()
        check_allowed(self.caller, fields["streams"])
        await self._feed.become_current(_PATIENCE)
        self._answer_subscribed(message, fields["streams"])
        for stream in fields["streams"]:
            self._watch(RULES[stream])
            self._with_ids[stream] = fields.get("ids", False)
            self._feed.add(self, stream)
            self._show_what_was(stream, fields.get("since"))

    def put(self, frame: Frame) -> None:
        text = frame.text_with_id if self._with_ids.get(frame.stream) else frame.text
        if frame.stream in LATEST_ONLY:
            self._outbox.put_latest(frame.stream, text)
        else:
            self._outbox.put_event(frame.stream, text)
        self._look_after_outbox()

    def miss(self, stream: str) -> None:
        self._outbox.put_event(stream, _gap(stream, None))

    def _show_what_was(self, stream: str, since: str | None) -> None:
        if stream in LATEST_ONLY:
            latest = self._feed.latest(stream)
            if latest is not None:
                self.put(latest)
        elif since is not None:
            frames, is_all = self._feed.since(stream, parse_place(since))
            if not is_all:
                self.miss(stream)
            for frame in frames:
                self.put(frame)

    def _leave(self, streams: Any) -> None:
        for stream in streams:
            self._feed.remove(self, stream)
            self._outbox.forget(stream)
            self._with_ids.pop(stream, None)
        if not self._with_ids:
            self._idle_since = time.monotonic()

    def _watch(self, rule: Access) -> None:
        if rule not in self._watched:
            self._watched.add(rule)
            self.watch(rule)

    def _answer_subscribed(self, message: dict[str, Any], new: list[str]) -> None:
        self._answer("subscribed", message, dict.fromkeys([*self._with_ids, *new]))

    def _answer(self, event_type: str, message: dict[str, Any], streams: Any = None) -> None:
        data = {"streams": sorted(self._with_ids if streams is None else streams)}
        self._outbox.put_answer(write_message(event_type, data, id=message.get("id")))
        self._look_after_outbox()

    def _look_after_outbox(self) -> None:
        if self._outbox.is_hopeless and self._is_open:
            self._is_open = False  # nothing more is read or answered
            self.start_task(self.close(CloseCode.OVERLOADED))  # a message would wait with the rest

    async def _send_all(self) -> None:
        """The only one who sends what waits, in order."""
        while self._is_open:
            try:
                async with asyncio.timeout(HEARTBEAT_AFTER):
                    await self._outbox.wait()
            except TimeoutError:
                await self._show_life()
                continue
            for stream, number in self._outbox.take_missed().items():
                await self.send_text(_gap(stream, number))
            if (text := self._outbox.take()) is not None:
                await self.send_text(text)

    async def _show_life(self) -> None:
        is_idle = not self._with_ids and time.monotonic() - self._idle_since > IDLE_TIMEOUT
        if is_idle:
            await self.close(CloseCode.IDLE)
        else:
            data = {"is_current": self._feed.is_current}
            await self.send_text(write_message(HEARTBEAT, data))


def _gap(stream: str, number: int | None) -> str:
    """Tells that events are missing before the next one, and how many where that is known."""
    return write_message("gap", {"stream": stream, "missed": number})


def _checked(request: Any) -> dict[str, Any]:
    request.is_valid(raise_exception=True)
    return dict(request.validated_data)
