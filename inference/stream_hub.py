"""Stage 7/7, its source: one reader of Redis for all streams that an event loop follows.

One XREAD waits for news of every followed job at once, so that a hundred open answers cost the web
process about as much as a few. A stream is added by a word in a control stream, which wakes the read.
A follower that takes its events slowly has few of them waiting here: its stream is then left out of
the read, Redis keeps the rest, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import secrets
import time
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import redis
import redis.asyncio
from django.conf import settings

from inference import metrics
from inference.stream import Events, JobKeys, Placed, Position, is_terminal, placed_events
from llamagpu.lib.redis_client import async_client

logger = logging.getLogger(__name__)

#: Seconds without news after which a follower may look around.
LOOK_AROUND = 2.0
#: Most entries of one stream that a read brings, and from how many waiting ones on it is left out.
MAX_WAITING = 64
_BLOCK_MS = 2000
_CONTROL_LIFETIME = 60
# Reads follow each other no faster than this with many streams: more news come with each of them.
_PAUSE_PER_STREAM, _LONGEST_PAUSE = 0.0001, 0.005


class Subscription:
    """One follower's place in one stream."""

    def __init__(self, hub: StreamHub, key: str, after: Position) -> None:
        self.key = key
        self.at = after
        self._hub = hub
        self._waiting: deque[Placed] = deque()
        self._news: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._patient_until = 0.0
        self._error: redis.RedisError | None = None
        self._has_end = False

    @property
    def is_hungry(self) -> bool:
        """Whether it wants more from Redis."""
        return not self._has_end and self._error is None and len(self._waiting) < MAX_WAITING

    async def take(self, patience: float) -> Placed | None:
        """The next event; None after `patience` seconds without one. Raises RedisError."""
        if not self._waiting and self._error is None:
            await self._wait(patience)
        if self._waiting:
            was_full = not self.is_hungry
            item = self._waiting.popleft()
            if was_full and self.is_hungry:
                self._hub.ask_for(self)
            return item
        if self._error is not None:
            raise self._error
        return None

    async def _wait(self, patience: float) -> None:
        # Less than half of what `wait_for` costs, for every token of every stream: no timer is made where one
        # goes off early enough, however long ago it was set.
        loop = asyncio.get_running_loop()
        self._news = loop.create_future()
        self._patient_until = loop.time() + patience
        if self._timer is None or self._timer.when() > self._patient_until:
            self._set_timer(loop)
        try:
            await self._news
        finally:
            self._news = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        self.stop_timer()
        self._timer = loop.call_at(self._patient_until, self._look_at_clock)

    def _look_at_clock(self) -> None:
        loop, self._timer = asyncio.get_running_loop(), None
        if self._news is None:
            return
        if loop.time() < self._patient_until:
            self._set_timer(loop)
        else:
            _settle(self._news)

    def stop_timer(self) -> None:
        """It is not waited for any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def put(self, item: Placed) -> None:
        """One event, which is ignored where it stands before this one's place."""
        if item[0] <= self.at or self._has_end:
            return
        self.at = item[0]
        self._has_end = is_terminal(item[1])
        self._waiting.append(item)
        _settle(self._news)

    def fail(self, error: redis.RedisError) -> None:
        """Nothing more will come: `take` raises `error` after what waits."""
        self._error = error
        _settle(self._news)


def _settle(news: asyncio.Future[None] | None) -> None:
    if news is not None and not news.done():
        news.set_result(None)


class StreamHub:
    """All subscriptions of one event loop, and the task that reads for them."""

    def __init__(self, client: redis.asyncio.Redis) -> None:
        self.client = client
        self._by_key: dict[str, list[Subscription]] = {}
        self._changed = asyncio.Event()
        self._control = f"lg:web:{secrets.token_hex(8)}:wake"
        self._control_at = "0-0"
        self._being_read: dict[str, Position] = {}
        self._reader: asyncio.Task[None] | None = None
        self._waker: asyncio.Task[None] | None = None

    @contextmanager
    def subscribe(self, job_id: str, after: Position) -> Iterator[Subscription]:
        """The events of a job's stream that stand after `after`, from Redis's memory on."""
        subscription = Subscription(self, JobKeys(job_id).events, after)
        self._by_key.setdefault(subscription.key, []).append(subscription)
        self.ask_for(subscription)
        metrics.STREAM_READERS.inc()
        try:
            yield subscription
        finally:
            metrics.STREAM_READERS.dec()
            subscription.stop_timer()
            others = self._by_key[subscription.key]
            others.remove(subscription)
            if not others:
                del self._by_key[subscription.key]

    def ask_for(self, subscription: Subscription) -> None:
        """See to it that its stream is read soon, from its place on."""
        self._changed.set()
        if self._reader is None or self._reader.done():
            # A context of its own: its log lines belong to no request.
            self._reader = asyncio.get_running_loop().create_task(
                self._read(), context=contextvars.Context()
            )
        elif self._being_read and self._waker is None and not self._is_being_read(subscription):
            self._waker = asyncio.get_running_loop().create_task(
                self._wake(), context=contextvars.Context()
            )

    def _is_being_read(self, subscription: Subscription) -> bool:
        start = self._being_read.get(subscription.key)
        return start is not None and start <= subscription.at

    async def close(self) -> None:
        """End the reading and the connections."""
        for task in (self._reader, self._waker):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        await self.client.aclose()

    async def _read(self) -> None:
        while True:
            self._changed.clear()
            places = self._places()
            if not places:
                await self._changed.wait()
                continue
            try:
                await self._read_once(places)
            except redis.RedisError as error:
                self._fail_all(error)
            except Exception as error:  # one loop reads for everybody: it must go on
                logger.exception("streams could not be read")
                self._fail_all(redis.RedisError(str(error)))
            finally:
                self._being_read = {}
            pause = min(len(places) * _PAUSE_PER_STREAM, _LONGEST_PAUSE)
            await asyncio.sleep(pause if len(places) > 1 else 0)

    def _places(self) -> dict[str, Position]:
        """What to read, each stream from where its least advanced follower is."""
        return {
            key: min(subscription.at for subscription in hungry)
            for key, subscriptions in self._by_key.items()
            if (hungry := [one for one in subscriptions if one.is_hungry])
        }

    async def _read_once(self, places: dict[str, Position]) -> None:
        streams: dict[str, str] = {key: str(position) for key, position in places.items()}
        streams[self._control] = self._control_at
        self._being_read = places
        answer = await self.client.xread(streams, count=MAX_WAITING, block=_BLOCK_MS)  # type: ignore[arg-type]
        for key_bytes, raw in answer:
            key = key_bytes.decode()
            if key == self._control:
                self._control_at = raw[-1][0].decode()
                continue
            # One that came or grew hungry meanwhile may lack what stands before this read.
            fit = [
                one for one in self._by_key.get(key, ()) if one.is_hungry and places[key] <= one.at
            ]
            for item in placed_events(raw):
                for subscription in fit:
                    subscription.put(item)

    async def _wake(self) -> None:
        try:
            pipeline = self.client.pipeline(transaction=False)
            pipeline.xadd(self._control, {"w": ""}, maxlen=1, approximate=False)
            pipeline.expire(self._control, _CONTROL_LIFETIME)
            await pipeline.execute()
        except redis.RedisError as error:  # the read comes back by itself soon
            logger.warning("the reader of streams could not be woken: %s", error)
        finally:
            self._waker = None

    def _fail_all(self, error: redis.RedisError) -> None:
        for subscriptions in self._by_key.values():
            for subscription in subscriptions:
                subscription.fail(error)


_hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, StreamHub] = weakref.WeakKeyDictionary()


def hub_of_this_loop() -> StreamHub:
    """To be called on an event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = StreamHub(async_client(settings.REDIS_URL))
    return _hubs[loop]


async def read_events(job_id: str, *, after: Position, until: float) -> Events:
    """Yields what stands after `after` up to the terminal event.

    Yields None about every two seconds without news, so that the caller can look around. Stops
    without a terminal event once `time.monotonic()` has passed `until`. Raises RedisError.
    """
    with hub_of_this_loop().subscribe(job_id, after) as subscription:
        while (remaining := until - time.monotonic()) > 0:
            item = await subscription.take(min(LOOK_AROUND, remaining))
            yield item
            if item is not None and is_terminal(item[1]):
                return
