"""The store of log lines: bounded, patient, and no burden to whoever logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from llamagpu.lib.log_format import current_request_id
from llamagpu.lib.redis_client import impatient_client
from monitoring.logs.handler import MAX_PER_SECOND, MAX_WAITING, LogStoreHandler
from monitoring.logs.reading import LogQuestion, find_lines
from monitoring.logs.store import KEY, LogLine, append, newest_first


class Log:
    """A logger of the test's own whose lines go to the store."""

    def __init__(self, client: Any) -> None:
        self.now = 0.0
        self.handler = LogStoreHandler(client, lambda: self.now)
        self.logger = logging.getLogger("test.store")
        self.logger.propagate = False
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(self.handler)

    def say(self, num: int) -> None:
        """At a pace that nobody minds."""
        for place in range(num):
            self.now += 0.1
            self.logger.info("line %d", place)


@pytest.fixture
def log(redis_client: Any) -> Iterator[Log]:
    made = Log(redis_client)
    yield made
    made.logger.removeHandler(made.handler)


def stored(client: Any) -> list[LogLine]:
    return list(newest_first(client))


def test_a_line_is_stored_with_all_that_it_tells(log: Log, redis_client: Any) -> None:
    token = current_request_id.set("req_1")
    try:
        try:
            raise ValueError("bad")
        except ValueError:
            log.logger.exception("it failed: password=hunter2\nforged")
    finally:
        current_request_id.reset(token)
    assert log.handler.send()
    (line,) = stored(redis_client)
    assert (line.level, line.logger, line.request_id) == ("ERROR", "test.store", "req_1")
    assert line.message == "it failed: password=[redacted]\\nforged"
    assert "ValueError: bad" in line.exception
    assert line.node


def test_what_comes_too_fast_is_dropped_and_counted(log: Log, redis_client: Any) -> None:
    for place in range(MAX_PER_SECOND + 40):
        log.logger.info("%d", place)
    log.handler.send()
    log.handler.send()
    lines = stored(redis_client)
    assert len(lines) == MAX_PER_SECOND + 1
    assert lines[0].message == "40 lines were not stored"


def test_while_redis_is_away_lines_wait_within_bounds(log: Log, redis_client: Any) -> None:
    log.handler._client = impatient_client("unix:///nowhere/redis.sock")
    log.say(MAX_WAITING + 50)
    assert not log.handler.send()
    assert not log.handler.send()
    log.handler._client = redis_client
    assert log.handler.send()
    assert log.handler.send()
    lines = stored(redis_client)
    assert lines[0].message == "50 lines were not stored"
    assert (lines[-1].message, len(lines)) == ("line 50", MAX_WAITING + 1)


def test_a_line_that_cannot_be_made_harms_nobody(log: Log) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    log.handler.emit(logging.makeLogRecord({"msg": "%s", "args": (Odd(),)}))
    assert log.handler.num_dropped == 1


def test_the_thread_that_sends_stores_nothing_of_its_own(log: Log, redis_client: Any) -> None:
    class Chatty:
        def pipeline(self, **options: Any) -> Any:
            log.logger.warning("I send")
            return redis_client.pipeline(**options)

    log.handler._client = Chatty()
    log.handler.start()
    log.say(3)
    log.handler.stop(20)
    assert [line.message for line in stored(redis_client)] == ["line 2", "line 1", "line 0"]


def test_the_store_is_capped(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from monitoring.logs import store

    monkeypatch.setattr(store, "MAX_LINES", 500)
    line = LogLine("2026-11-29T16:00:00+00:00", "INFO", "web", "a", "x" * 100)
    for _ in range(10):
        append(redis_client, [line] * 200)
    assert 500 <= redis_client.xlen(KEY) <= 700


def test_a_reader_pages_through_all_of_it(redis_client: Any) -> None:
    lines = [LogLine("t", "INFO", "web", "a", str(place)) for place in range(2500)]
    append(redis_client, lines)
    assert [line.message for line in find_lines(LogQuestion(text="24", limit=3))] == [
        "2499",
        "2498",
        "2497",
    ]
    assert len(find_lines(LogQuestion(limit=10_000))) == 2500


def test_nothing_comes_before_the_first_place(redis_client: Any) -> None:
    assert list(newest_first(redis_client, before="0-0")) == []
