"""The reader of live events, with a Valkey of its own that may die."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from llamagpu.lib.redis_client import async_client
from llamagpu.supervisor.valkey import EmbeddedValkey, find_server
from monitoring.live.feed import Feed, Frame, parse_place
from monitoring.live_events import FIELD, MAX_EVENTS, MODEL_EVENTS, SYSTEM_METRICS, key_of
from tests.e2e.conftest import wait_until

PATIENCE = 30


class Follower:
    """Numbers of events, and "gap"."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.news = asyncio.Event()

    def put(self, frame: Frame) -> None:
        self.seen.append(frame.envelope["data"]["number"])
        self.news.set()

    def miss(self, stream: str) -> None:
        self.seen.append("gap")
        self.news.set()

    async def until(self, condition: Callable[[list[Any]], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition(self.seen):
                self.news.clear()
                await self.news.wait()


class Server:
    """A Valkey that keeps what it was told over its death, where its files stay."""

    def __init__(self, folder: Path) -> None:
        self.valkey = EmbeddedValkey(folder, folder / "valkey.sock", find_server())
        self.valkey.prepare()
        self.folder = folder
        self.url = f"unix://{folder}/valkey.sock"
        self.client = redis.Redis.from_url(self.url, socket_timeout=5)
        self.start()

    def start(self) -> None:
        command = [*self.valkey.spec.command, "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(lambda: not self.valkey.obstacle(), "it answers")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def add(self, stream: str, *numbers: int) -> None:
        for number in numbers:
            event = {"timestamp": "", "event_type": stream, "data": {"number": number}}
            self.client.xadd(key_of(stream), {FIELD: json.dumps(event)}, maxlen=MAX_EVENTS)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path)
    yield running
    running.client.close()
    running.kill()


@asynccontextmanager
async def followed(server: Server, stream: str) -> AsyncIterator[tuple[Feed, Follower]]:
    feed, follower = Feed(async_client(server.url)), Follower()
    with feed.open():
        assert await feed.become_current(PATIENCE)
        feed.add(follower, stream)
        yield feed, follower
    await feed.close()


async def test_what_was_there_is_held_and_what_comes_is_told(server: Server) -> None:
    server.add(MODEL_EVENTS, 1, 2)
    server.add(SYSTEM_METRICS, 1, 2)
    async with followed(server, MODEL_EVENTS) as (feed, follower):
        first, second = feed.since(MODEL_EVENTS, (0, 1))[0]
        assert feed.since(MODEL_EVENTS, first.place) == ([second], True)
        assert feed.since(MODEL_EVENTS, second.place) == ([], True)
        assert feed.since(MODEL_EVENTS, (5, 0)) == ([first, second], False)
        latest = feed.latest(SYSTEM_METRICS)
        assert latest is not None
        assert latest.envelope["data"] == {"number": 2}
        server.add(MODEL_EVENTS, 3, 4)
        await follower.until(lambda seen: len(seen) == 2)
        assert follower.seen == [3, 4]


async def test_the_ids_stand_beside_the_envelope(server: Server) -> None:
    server.add(MODEL_EVENTS, 1)
    async with followed(server, MODEL_EVENTS) as (feed, _):
        frame = feed.latest(MODEL_EVENTS)
        assert frame is not None
        assert json.loads(frame.text_with_id) == {
            "id": frame.id,
            "stream": MODEL_EVENTS,
            **frame.envelope,
        }


async def test_a_server_that_dies_and_comes_back_loses_nothing(server: Server) -> None:
    async with followed(server, MODEL_EVENTS) as (feed, follower):
        server.add(MODEL_EVENTS, 1)
        await follower.until(lambda seen: seen == [1])
        server.kill()
        async with asyncio.timeout(PATIENCE):
            while feed.is_current:
                await asyncio.sleep(0.01)
        await asyncio.to_thread(server.start)
        server.add(MODEL_EVENTS, 2, 3)
        await follower.until(lambda seen: len(seen) == 3)
        assert follower.seen == [1, 2, 3]


async def test_a_server_that_has_lost_its_memory_is_told_as_a_gap(server: Server) -> None:
    async with followed(server, MODEL_EVENTS) as (_, follower):
        server.add(MODEL_EVENTS, 1)
        await follower.until(lambda seen: seen == [1])
        server.client.delete(key_of(MODEL_EVENTS))
        server.kill()
        await asyncio.to_thread(server.start)
        await follower.until(lambda seen: "gap" in seen)
        server.add(MODEL_EVENTS, 2)
        await follower.until(lambda seen: seen[-1] == 2)
        assert follower.seen == [1, "gap", 2]


async def test_an_entry_that_is_no_event_is_passed_over(server: Server) -> None:
    async with followed(server, MODEL_EVENTS) as (feed, follower):
        server.client.xadd(key_of(MODEL_EVENTS), {"other": "x"})
        server.add(MODEL_EVENTS, 1)
        await follower.until(lambda seen: seen == [1])
        last = server.client.xadd(key_of(MODEL_EVENTS), {"other": "x"})
        assert isinstance(last, bytes)
        async with asyncio.timeout(PATIENCE):
            while feed._at[MODEL_EVENTS] != parse_place(last.decode()):
                await asyncio.sleep(0.01)


async def test_nobody_reads_while_nobody_watches(server: Server) -> None:
    async with followed(server, MODEL_EVENTS) as (feed, _):
        pass
    assert feed._reader is None
    assert not feed.is_current
