"""One reader for all streams of a loop: late comers, slow ones, several at one stream, Redis away."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import redis

from inference.protocol import ErrorEvent, StreamEvent, TokenEvent
from inference.stream import JobKeys, Placed, Position, append
from inference.stream_hub import MAX_WAITING, StreamHub, hub_of_this_loop, read_events
from llamagpu.lib.error_codes import ErrorCode

END = ErrorEvent(ErrorCode.CANCELLED, "over")


@pytest.fixture
async def hub(redis_client: Any) -> AsyncIterator[StreamHub]:
    yield hub_of_this_loop()
    await hub_of_this_loop().close()


def new_job() -> str:
    return str(uuid.uuid4())


def say(client: Any, job_id: str, entry_id: str, event: StreamEvent) -> None:
    pipeline = client.pipeline()
    append(pipeline, JobKeys(job_id), entry_id, event, 60)
    pipeline.execute()


def say_tokens(client: Any, job_id: str, start: int, end: int) -> None:
    pipeline = client.pipeline(transaction=False)
    for number in range(start, end + 1):
        append(pipeline, JobKeys(job_id), f"1-{number}", TokenEvent(f"t{number} ", number), 60)
    pipeline.execute()


async def read(job_id: str, after: Position = Position()) -> list[Placed]:  # noqa: B008
    return [
        item
        async for item in read_events(job_id, after=after, until=time.monotonic() + 30)
        if item is not None
    ]


async def test_what_was_there_before_comes_first_then_what_is_new(
    hub: StreamHub, redis_client: Any
) -> None:
    job = new_job()
    say_tokens(redis_client, job, 1, 2)
    places = []
    async for item in read_events(job, after=Position(1, 1), until=time.monotonic() + 30):
        if item is not None:
            places.append(str(item[0]))
        if places == ["1-2"]:
            say(redis_client, job, "1-3", END)
    assert places == ["1-2", "1-3"]


async def test_a_stream_that_is_added_while_others_are_waited_for_is_read_at_once(
    hub: StreamHub, redis_client: Any
) -> None:
    silent, spoken = new_job(), new_job()
    waiting = asyncio.create_task(read(silent))
    while not hub._being_read:  # the reader waits for the silent one
        await asyncio.sleep(0.01)
    say(redis_client, spoken, "1-1", END)
    with hub.subscribe(spoken, Position()) as subscription:
        first = hub._reader
        assert await subscription.take(1.5) == (Position(1, 1), END), "before the read ends"
    assert hub._reader is first
    say(redis_client, silent, "1-1", END)
    assert len(await waiting) == 1


async def test_readers_of_one_stream_from_different_places_get_what_each_lacks(
    hub: StreamHub, redis_client: Any
) -> None:
    job = new_job()
    say_tokens(redis_client, job, 1, 200)
    say(redis_client, job, "1-201", END)
    starts = [0, 150, 77, 200, 0]
    found = await asyncio.gather(*(read(job, Position(1, start)) for start in starts))
    for start, items in zip(starts, found, strict=True):
        assert [place.number for place, _ in items] == list(range(start + 1, 202))


async def test_a_slow_reader_has_little_waiting_and_holds_nobody_up(
    hub: StreamHub, redis_client: Any
) -> None:
    slow, quick = new_job(), new_job()
    say_tokens(redis_client, slow, 1, 3000)
    say(redis_client, slow, "1-3001", END)
    with hub.subscribe(slow, Position()) as subscription:
        first = await subscription.take(30)
        assert first is not None
        numbers = [first[0].number]
        for number in range(1, 4):
            say(redis_client, quick, f"1-{number}", TokenEvent("x", number))
        say(redis_client, quick, "1-4", END)
        assert len(await read(quick)) == 4
        assert len(subscription._waiting) <= 2 * MAX_WAITING
        while item := await subscription.take(30):
            numbers.append(item[0].number)
            if item[1] == END:
                break
    assert numbers == list(range(1, 3002))


async def test_without_news_a_reader_may_look_around(hub: StreamHub) -> None:
    with hub.subscribe(new_job(), Position()) as subscription:
        assert await subscription.take(0.05) is None


async def test_readers_hear_that_redis_is_away_and_read_on_when_it_is_back(
    hub: StreamHub, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job()

    async def away(*args: Any, **kwargs: Any) -> Any:
        raise redis.ConnectionError("no")

    with monkeypatch.context() as patch, pytest.raises(redis.ConnectionError):
        patch.setattr(hub.client, "xread", away)
        await read(job)
    say(redis_client, job, "1-1", END)
    assert await read(job) == [(Position(1, 1), END)]


async def test_bytes_that_are_no_event_fail_their_reader_and_not_the_next_one(
    hub: StreamHub, redis_client: Any
) -> None:
    broken, whole = new_job(), new_job()
    redis_client.xadd(JobKeys(broken).events, {"e": b"nonsense"}, id="1-1")
    with pytest.raises(redis.RedisError):
        await read(broken)
    say(redis_client, whole, "1-1", END)
    assert len(await read(whole)) == 1


async def test_an_idle_hub_asks_redis_for_nothing(hub: StreamHub, redis_client: Any) -> None:
    job = new_job()
    say(redis_client, job, "1-1", END)
    await read(job)
    assert not hub._being_read
    async with aclosing(read_events(new_job(), after=Position(), until=0.0)) as items:
        assert [item async for item in items] == []
    assert not hub._by_key


@pytest.mark.parametrize("text", ["", "1", "1-", "-1", "1-2-3", "a-1", "1-\u0661", "1" * 10 + "-1"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(text)


def test_positions_follow_each_other_without_gaps() -> None:
    assert Position(1, 4).is_followed_by(Position(1, 5))
    assert Position(1, 4).is_followed_by(Position(3, 1))
    assert Position().is_followed_by(Position(1, 1))
    assert not Position(1, 4).is_followed_by(Position(1, 6))
    assert not Position(1, 4).is_followed_by(Position(2, 2))
    assert not Position(2, 1).is_followed_by(Position(1, 2))
