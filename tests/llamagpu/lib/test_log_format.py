from __future__ import annotations

import json
import logging

from llamagpu.lib.log_format import JsonFormatter, TextFormatter, current_request_id
from llamagpu.lib.percentiles import percentiles


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("a.b", logging.WARNING, "f.py", 1, message, None, None)


def test_a_line_break_cannot_forge_a_second_line() -> None:
    assert "\n" not in TextFormatter().format(record("bad\n12:00 info fake"))
    assert "\n" not in JsonFormatter().format(record("bad\nworse"))


def test_lines_carry_the_request_id() -> None:
    token = current_request_id.set("req_1")
    try:
        assert "[req_1]" in TextFormatter().format(record("x"))
        assert json.loads(JsonFormatter().format(record("x")))["request_id"] == "req_1"
    finally:
        current_request_id.reset(token)


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([float(i) for i in range(1, 101)]) == {
        "count": 100,
        "p50": 50.0,
        "p95": 95.0,
        "p99": 99.0,
    }
    assert percentiles([3.0])["p99"] == 3.0
    assert percentiles([])["p50"] is None
