"""An engine's lines in the worker's log."""

from __future__ import annotations

import json
import logging
import os
import threading
import uuid

import pytest

from inference.worker import engine_log
from inference.worker.engine_log import EngineLog

ATTEMPT = f"{uuid.UUID(int=7)}.2"


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> list[logging.LogRecord]:
    told: list[logging.LogRecord] = []
    monkeypatch.setattr(engine_log.logger, "handle", told.append)
    monkeypatch.setattr(engine_log.logger, "level", logging.INFO)
    return told


def log() -> EngineLog:
    return EngineLog("tiny", 42, {ATTEMPT: "req_7"}.get)  # type: ignore[arg-type]


def line(**fields: str) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def test_a_line_keeps_its_level_and_gets_the_request(records: list[logging.LogRecord]) -> None:
    message = f"request {ATTEMPT} could not be read: 100%s"
    log().take(line(level="ERROR", logger="inference.engine.engine", message=message))
    (record,) = records
    assert record.getMessage() == message
    assert (record.levelname, record.process) == ("ERROR", 42)
    assert record.name == "inference.engine.engine[tiny]"
    assert (record.component, record.request_id) == ("engine", "req_7")  # type: ignore[attr-defined]


def test_a_traceback_comes_along(records: list[logging.LogRecord]) -> None:
    log().take(line(level="ERROR", logger="x", message="failed", exception="Traceback\n  odd"))
    assert records[0].exc_text == "Traceback\n  odd"


def test_what_a_library_prints_is_a_line_of_its_own(records: list[logging.LogRecord]) -> None:
    for text in (b"CUDA says hello\n", b'{"odd": 1}\n', b"{broken\n", b"\xff\xfe\n", b"\n"):
        log().take(text)
    assert [record.getMessage() for record in records][:3] == [
        "CUDA says hello",
        '{"odd": 1}',
        "{broken",
    ]
    assert all(record.levelname == "INFO" for record in records)


def test_a_pipe_is_read_to_its_end(records: list[logging.LogRecord]) -> None:
    reading, writing = os.pipe()
    log().follow(os.fdopen(reading, "rb"))
    with os.fdopen(writing, "wb") as pipe:
        for place in range(2000):
            pipe.write(line(level="INFO", logger="x", message=f"line {place}"))
    for thread in threading.enumerate():
        if thread.name == "log of tiny":
            thread.join(20)
    assert len(records) == 2000
