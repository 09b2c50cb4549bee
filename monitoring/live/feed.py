"""One reader of `lg:live:*` for all watchers of a web process.

It holds the last events of each stream, so that a watcher who comes, or comes back, gets them without
asking Redis. It reads only while somebody watches. An event's text goes out as its publisher wrote it:
it is encoded once, wherever it goes.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import random
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, Protocol

import redis
import redis.asyncio
from django.conf import settings

from llamagpu.lib.redis_client import async_client
from monitoring.live.streams import LATEST_ONLY
from monitoring.live_events import FIELD, MAX_EVENTS, STREAMS, key_of

logger = logging.getLogger(__name__)

#: Where an event stands in its stream: Redis's clock in milliseconds, and a number within one.
Place = tuple[int, int]
START: Place = (0, 0)

_BLOCK_MS = 2000
# A server that is gone without a word answers nothing at all: then the connection is given up.
_READ_TIMEOUT = 8.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0


class Frame:
    """One event. Immutable, shared by all who get it."""

    def __init__(self, stream: str, place: Place, text: str) -> None:
        self.stream = stream
        self.place = place
        #: The envelope as JSON.
        self.text = text

    @property
    def id(self) -> str:
        return write_place(self.place)

    @cached_property
    def text_with_id(self) -> str:
        """The envelope with the event's id and stream beside."""
        return f'{{"id": "{self.id}", "stream": "{self.stream}", {self.text[1:]}'

    @cached_property
    def envelope(self) -> Any:
        return json.loads(self.text)


class Follower(Protocol):
    """Somebody who watches. Both methods are called on the event loop and must not block."""

    def put(self, frame: Frame) -> None:
        """An event of a stream that it follows."""
        ...

    def miss(self, stream: str) -> None:
        """Events of the stream were lost on their way; how many is not known."""
        ...


class Feed:
    def __init__(self, client: redis.asyncio.Redis) -> None:
        self._client = client
        self._followers: dict[str, list[Follower]] = {stream: [] for stream in STREAMS}
        self._held: dict[str, deque[Frame]] = {
            stream: deque(maxlen=1 if stream in LATEST_ONLY else MAX_EVENTS) for stream in STREAMS
        }
        self._at: dict[str, Place] = dict.fromkeys(STREAMS, START)
        self._num_open = 0
        self._reader: asyncio.Task[None] | None = None
        self._is_current = asyncio.Event()

    @property
    def is_current(self) -> bool:
        """Whether events come as they happen; false while Redis is away."""
        return self._is_current.is_set()

    async def become_current(self, patience: float) -> bool:
        """Wait until events come as they happen, `patience` seconds at most; whether they do."""
        try:
            async with asyncio.timeout(patience):
                await self._is_current.wait()
        except TimeoutError:
            return False
        return True

    @contextmanager
    def open(self) -> Iterator[None]:
        """Keeps the reader at work inside the block. To be entered on the event loop."""
        self._num_open += 1
        if self._reader is None or self._reader.done():
            # A context of its own: its log lines belong to no request.
            self._reader = asyncio.get_running_loop().create_task(
                self._run(), context=contextvars.Context()
            )
        try:
            yield
        finally:
            self._num_open -= 1
            if not self._num_open and self._reader is not None:
                self._reader.cancel()
                self._reader = None
                self._is_current.clear()

    def add(self, follower: Follower, stream: str) -> None:
        """From the next event on."""
        if follower not in self._followers[stream]:
            self._followers[stream].append(follower)

    def remove(self, follower: Follower, stream: str) -> None:
        if follower in self._followers[stream]:
            self._followers[stream].remove(follower)

    def latest(self, stream: str) -> Frame | None:
        """The newest event that is known."""
        held = self._held[stream]
        return held[-1] if held else None

    def since(self, stream: str, place: Place) -> tuple[list[Frame], bool]:
        """What stands after `place`, and whether that is all of it: `place` itself is known here."""
        held = self._held[stream]
        after = [frame for frame in held if frame.place > place]
        is_known = any(frame.place == place for frame in held) or place == self._at[stream]
        return after, is_known

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._client.aclose()

    async def _run(self) -> None:
        pause = _SHORTEST_PAUSE
        while True:
            try:
                await self._catch_up()
                self._is_current.set()
                pause = _SHORTEST_PAUSE
                while True:
                    async with asyncio.timeout(_READ_TIMEOUT):
                        await self._read_once()
            except (redis.RedisError, OSError) as error:  # TimeoutError is among the latter
                if self._is_current.is_set():
                    logger.warning("live events cannot be read: %s", error)
            except Exception:  # one task reads for everybody: it must go on
                logger.exception("live events could not be read")
            self._is_current.clear()
            await self._client.connection_pool.disconnect()
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _catch_up(self) -> None:
        """What each stream holds now; followers get what is new to them."""
        pipeline = self._client.pipeline(transaction=False)
        for stream in STREAMS:
            pipeline.xrevrange(key_of(stream), count=self._held[stream].maxlen)
        async with asyncio.timeout(_READ_TIMEOUT):
            answers = await pipeline.execute()
        for stream, newest_first in zip(STREAMS, answers, strict=True):
            frames = _frames(stream, reversed(newest_first))
            at = self._at[stream]
            if at != START and stream not in LATEST_ONLY:
                is_emptied = not frames or frames[-1].place < at
                is_beyond = len(frames) == MAX_EVENTS and frames[0].place > at
                if is_emptied or is_beyond:
                    self._lose(stream)
                    at = START
            self._take(stream, [frame for frame in frames if frame.place > at])

    async def _read_once(self) -> None:
        places = {key_of(stream): write_place(place) for stream, place in self._at.items()}
        answer = await self._client.xread(places, count=MAX_EVENTS, block=_BLOCK_MS)  # type: ignore[arg-type]
        for key, raw in answer:
            stream = _STREAM_OF[key.decode()]
            self._take(stream, _frames(stream, raw))
            # Also past what is no event, or it would be read for ever.
            self._at[stream] = parse_place(raw[-1][0].decode())

    def _take(self, stream: str, frames: list[Frame]) -> None:
        for frame in frames:
            self._at[stream] = frame.place
            self._held[stream].append(frame)
            for follower in tuple(self._followers[stream]):
                follower.put(frame)

    def _lose(self, stream: str) -> None:
        self._held[stream].clear()
        self._at[stream] = START
        for follower in tuple(self._followers[stream]):
            follower.miss(stream)


_STREAM_OF = {key_of(stream): stream for stream in STREAMS}


def _frames(stream: str, raw: Any) -> list[Frame]:
    """What Redis answers for one stream; entries that are no event are left out."""
    return [
        Frame(stream, parse_place(entry_id.decode()), fields[FIELD.encode()].decode())
        for entry_id, fields in raw
        if FIELD.encode() in fields
    ]


def write_place(place: Place) -> str:
    return f"{place[0]}-{place[1]}"


def parse_place(text: str) -> Place:
    """Of an id such as `1764430000000-0`. Raises ValueError."""
    milliseconds, _, number = text.partition("-")
    return int(milliseconds), int(number)


_feeds: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Feed] = weakref.WeakKeyDictionary()


def feed_of_this_loop() -> Feed:
    """To be called on an event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _feeds:
        _feeds[loop] = Feed(async_client(settings.REDIS_URL))
    return _feeds[loop]
