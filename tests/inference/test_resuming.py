"""A reader who is cut off anywhere, any number of times, and comes back."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import rights_watch
from accounts.rights_watch import Holder
from inference import resuming
from inference.presence import WorkerReport, announce
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    Prompt,
    RestartEvent,
    SamplingParams,
    StreamEvent,
    Timings,
    TokenEvent,
    Usage,
)
from inference.resuming import resume
from inference.stream import JobKeys, Placed, Position, append, is_terminal
from inference.stream_hub import hub_of_this_loop
from llamagpu.http.permissions import READ_JOBS
from llamagpu.lib.error_codes import ErrorCode

START = Position()
HOLDER = Holder(user_id=1, rule=READ_JOBS)
TEXT = st.text("abc\u00e9\n", min_size=1, max_size=3)
#: The tokens of each attempt.
ATTEMPTS = st.lists(st.lists(TEXT, max_size=6), min_size=1, max_size=4)


@dataclass
class Stream:
    """A job's stream, published step by step as its attempts go on; the last one ends well."""

    client: Any
    attempts: list[list[str]]
    job: GenerationJob = field(init=False)
    steps: list[tuple[str, StreamEvent]] = field(init=False)

    def __post_init__(self) -> None:
        now = time.time()
        self.job = GenerationJob(
            str(uuid.uuid4()), 1, "r", "m", Prompt("hi"), SamplingParams(), now, now + 60
        )
        self.steps = []
        for attempt, texts in enumerate(self.attempts, start=1):
            events: list[StreamEvent] = [RestartEvent(attempt)] if attempt > 1 else []
            events += [TokenEvent(text, position) for position, text in enumerate(texts)]
            if attempt == len(self.attempts):
                events.append(done(self.final_text))
            self.steps += [
                (f"{attempt}-{number}", event) for number, event in enumerate(events, start=1)
            ]

    @property
    def final_text(self) -> str:
        return "".join(self.attempts[-1])

    def publish(self, count: int) -> None:
        """The next `count` events."""
        pipeline = self.client.pipeline()
        for entry_id, event in self.steps[:count]:
            append(pipeline, JobKeys(self.job.job_id), entry_id, event, 60)
        pipeline.execute()
        del self.steps[:count]

    def forget(self) -> None:
        """Redis loses what it held."""
        self.client.delete(JobKeys(self.job.job_id).events)


@dataclass
class Reader:
    """What a client does with events: appends tokens, drops them at a restart, keeps the last id."""

    at: Position = START
    text: str = ""
    seen: list[StreamEvent] = field(default_factory=list)

    def take(self, item: Placed) -> None:
        self.at, event = item
        self.seen.append(event)
        if isinstance(event, TokenEvent):
            self.text += event.text
        elif isinstance(event, RestartEvent):
            self.text = ""

    @property
    def has_ended(self) -> bool:
        return bool(self.seen) and is_terminal(self.seen[-1])


def done(text: str) -> DoneEvent:
    return DoneEvent(text, FinishReason.STOP, Usage(), Timings(), "m", "cpu")


@asynccontextmanager
async def hub_closed() -> AsyncIterator[None]:
    try:
        yield
    finally:
        await hub_of_this_loop().close()


async def read(stream: Stream, reader: Reader, at_most: int) -> None:
    """One connection: up to `at_most` events, then the reader is cut off."""
    async with aclosing(resume(stream.job, reader.at, HOLDER)) as items:  # type: ignore[type-var]
        if at_most == 0:
            return
        async for item in items:
            if item is None:
                continue
            reader.take(item)
            at_most -= 1
            if at_most == 0 or reader.has_ended:
                return


@pytest.fixture
def valkey_client(redis_client: Any) -> Iterator[Any]:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 1, 8))
    yield redis_client


relaxed = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@relaxed
@given(
    attempts=ATTEMPTS,
    turns=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), max_size=12),
)
def test_a_reader_who_is_cut_off_anywhere_loses_nothing_and_gets_nothing_twice(
    valkey_client: Any, attempts: list[list[str]], turns: list[tuple[int, int]]
) -> None:
    stream, reader = Stream(valkey_client, attempts), Reader()

    async def play() -> None:
        async with hub_closed():
            num_there = 0
            for published, wanted in turns:
                num_there += min(published, len(stream.steps))
                stream.publish(published)
                # No more than there is: this connection must not wait for what comes later.
                num_left = max(0, num_there - len(reader.seen))
                await read(stream, reader, min(wanted, num_left))
                if reader.has_ended:
                    return
            stream.publish(len(stream.steps))
            await read(stream, reader, 10_000)

    asyncio.run(play())
    assert reader.text == stream.final_text
    end = reader.seen[-1]
    assert isinstance(end, DoneEvent)
    assert end.text == stream.final_text
    assert len([event for event in reader.seen if is_terminal(event)]) == 1


@relaxed
@given(attempts=ATTEMPTS, data=st.data())
def test_what_redis_has_lost_comes_as_a_whole(
    valkey_client: Any, attempts: list[list[str]], data: st.DataObject
) -> None:
    """Then the reader is told to drop what it has, and the last event has all of it."""
    stream, reader = Stream(valkey_client, attempts), Reader()
    before = data.draw(st.integers(0, len(stream.steps) - 1))
    read_before = data.draw(st.integers(0, before))

    async def play() -> None:
        async with hub_closed():
            stream.publish(before)
            await read(stream, reader, read_before)
            stream.forget()
            stream.publish(len(stream.steps))
            await read(stream, reader, 10_000)

    asyncio.run(play())
    end = reader.seen[-1]
    assert isinstance(end, DoneEvent)
    assert end.text == stream.final_text
    is_told = len(reader.seen) < 2 or isinstance(reader.seen[-2], RestartEvent)
    assert reader.text == stream.final_text or (reader.text == "" and is_told)


async def test_who_is_cut_off_between_restart_and_end_gets_the_end_again(
    valkey_client: Any,
) -> None:
    stream, reader = Stream(valkey_client, [["a", "b", "c"]]), Reader()
    async with hub_closed():
        stream.publish(1)
        await read(stream, reader, 1)
        stream.publish(1)
        stream.forget()  # "b" is lost
        stream.publish(2)
        await read(stream, reader, 1)
        assert isinstance(reader.seen[-1], RestartEvent)
        await read(stream, reader, 2)
    assert reader.seen[-1] == done("abc")


async def test_a_lost_right_ends_the_reading_and_not_the_job(
    valkey_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(valkey_client, [["a", "b"]])
    monkeypatch.setattr(rights_watch, "INTERVAL", 0.01)
    lost = rights_watch.RightLost(ErrorCode.AUTHENTICATION_FAILED, "gone")
    monkeypatch.setattr(rights_watch, "_find_losses_and_release", lambda asked: {HOLDER: lost})
    monkeypatch.setattr("inference.stream_hub.LOOK_AROUND", 0.05)
    async with hub_closed():
        stream.publish(1)
        events = [item[1] async for item in resume(stream.job, Position(), HOLDER) if item]
    assert events[-1] == ErrorEvent(ErrorCode.AUTHENTICATION_FAILED, "gone")
    assert not valkey_client.exists(JobKeys(stream.job.job_id).cancel)


async def test_a_stream_that_is_lost_with_its_end_is_made_up_from_the_row(
    valkey_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, reader = Stream(valkey_client, [["a", "b"]]), Reader(Position(1, 1), "a")
    monkeypatch.setattr("inference.stream_hub.LOOK_AROUND", 0.02)

    async def ended(job_id: str) -> Any:
        return "row"

    def from_row(row: Any, after: Position) -> Any:
        return [(after, RestartEvent(1)), (Position(2, 1), done("ab"))]

    monkeypatch.setattr(resuming, "_ended_row", ended)
    monkeypatch.setattr(resuming, "replay", from_row)
    async with hub_closed():
        await read(stream, reader, 5)
    assert reader.seen == [RestartEvent(1), done("ab")]
