"""What may stand in a log line."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from llamagpu.lib.log_format import JsonFormatter, TextFormatter
from llamagpu.lib.log_text import MAX_LENGTH, clean


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("the key lg_Ab3dE6gH_0123456789abcdefghijABCDEFGHIJ0123 was refused", "0123456789"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("postgres://ada:hunter2@db.example/x", "hunter2"),
        ("redis://:hunter2@cache/0", "hunter2"),
        ("connect(password='hun ter2')", "ter2"),
        ('{"api_key": "hunter2-hunter2"}', "hunter2"),
        ("client_secret=hunter2&x=1", "hunter2"),
        ("hf_abcdefghijklmnopqrstuv", "abcdefghijklmnop"),
        ("Cookie: sessionid=hunter2", "hunter2"),
    ],
)
def test_no_secret_is_left(text: str, secret: str) -> None:
    assert secret not in clean(text)
    assert "[redacted]" in clean(text)


@pytest.mark.parametrize("text", ["max_tokens=20", "prompt_tokens: 7, token=12", "no key here"])
def test_counts_of_tokens_are_no_secrets(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize("letter", ["\n", "\r", "\x1b", "\x9b", "\u2028", "\u202e", "\x00", "\x7f"])
def test_no_letter_makes_a_line_or_gives_an_order(letter: str) -> None:
    assert letter not in clean(f"a{letter}b")


def test_a_line_is_bounded() -> None:
    assert len(clean("x" * 10 * MAX_LENGTH)) == MAX_LENGTH


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_a_traceback_forges_nothing_and_tells_no_secret(formatter: logging.Formatter) -> None:
    try:
        raise ValueError("bad\n12:00:00.000 error   forged: password=hunter2\x1b[2J")
    except ValueError:
        record = logging.LogRecord("a", logging.ERROR, "f.py", 1, "x", None, sys.exc_info())
    line = formatter.format(record)
    assert "hunter2" not in line
    assert "\x1b" not in line
    assert not any(part.startswith("12:00:00.000") for part in line.splitlines())


def test_another_process_s_line_keeps_its_component_and_request() -> None:
    record = logging.makeLogRecord({"msg": "x", "component": "engine", "request_id": "req_9"})
    fields = json.loads(JsonFormatter().format(record))
    assert (fields["component"], fields["request_id"]) == ("engine", "req_9")
