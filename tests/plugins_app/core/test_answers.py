"""The core plugins that see answers, whole or in pieces, and how requests ended."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins_app.base import FinishedContext, PluginRefusal, ResultContext
from plugins_app.core.output_processor import clean, find_json, plain
from plugins_app.pipeline import PluginRefusedError
from tests.plugins_app.core.conftest import Running, Start

ANSWER = 'Sure! Here you are:\n```json\n{"a": [1, 2]}\n```\nAnything else?\n'


def processed(plugin: Running, text: str) -> str:
    return str(plugin(ResultContext("r", "m", text)).text)


def test_answers_are_trimmed(start: Start) -> None:
    assert processed(start("output_processor"), " \n hi \n") == "hi"
    assert processed(start("output_processor", trim=False), " hi ") == " hi "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ANSWER, '{"a": [1, 2]}'),
        ('[] and {"b": 1}', "[]"),
        ('{not json} then {"c": "}"} end', '{"c": "}"}'),
        ("none", None),
        ("{" * 300 + '{"too": "late"}', None),
        ("[" * 100_000, None),
    ],
)
def test_json_is_found_in_an_answer(text: str, expected: str | None) -> None:
    assert find_json(text) == expected


def test_json_alone_is_given_out(start: Start) -> None:
    assert processed(start("output_processor", json="extract"), ANSWER) == '{"a": [1, 2]}'
    assert processed(start("output_processor", json="extract"), "none") == "none"
    strict = start("output_processor", json="extract", without_json="refuse")
    with pytest.raises(PluginRefusal, match="holds no JSON"):
        processed(strict, "none")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a  \n\n\n\nb\n", "a\n\nb\n"),
        ("see:\n```py\nx = 1  ", "see:\n```py\nx = 1  \n```"),
        ("~~~~\na\n\n\n\nb\n~~~\n~~~~\n", "~~~~\na\n\n\n\nb\n~~~\n~~~~\n"),
        ("", ""),
    ],
)
def test_markdown_is_mended(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_markdown_becomes_plain_text() -> None:
    text = (
        "# Title\n\nSome **bold**, *slanted* and `code`, 2 * 3 * 4, snake_case_name.\n"
        "> quoted [link](http://x.y)\n\n```py\n# **stays**\n```\n- item\n"
    )
    assert plain(text) == (
        "Title\n\nSome bold, slanted and code, 2 * 3 * 4, snake_case_name.\n"
        "quoted link\n\n# **stays**\n- item\n"
    )


@given(st.text(alphabet="a*_`#>[]()~ \n", max_size=80))
def test_mending_twice_changes_nothing_more(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    plain(text)


def test_an_answer_ends_before_a_phrase(start: Start) -> None:
    stop = start("stop_phrase", phrases=["User:", "\n\n\n"])
    assert stop.filtered("Hello. us", "ER: and", " more") == ["Hello. ", "", "", ""]
    assert stop.filtered("a\n\n", "b us") == ["a", "\n\nb ", "us"]


def test_phrases_are_replaced(start: Start) -> None:
    stop = start("stop_phrase", phrases=["darn", "darned"], action="replace", replacement="*")
    assert stop.filtered("Darn", "ed thing, darn", " it darn") == ["", "* thing, ", "* it ", "*"]
    exact = start("stop_phrase", phrases=["darn"], action="replace", ignore_case=False)
    assert "".join(exact.filtered("Darn darn")) == "Darn [removed]"


def test_an_answer_with_a_phrase_is_refused(start: Start) -> None:
    stop = start("stop_phrase", phrases=["secret"], action="refuse")
    assert "".join(stop.filtered("a sec", "ond")) == "a second"
    with pytest.raises(PluginRefusedError, match="'stop_phrase'"):
        stop.filtered("a sec", "ret")


def test_letters_that_grow_in_small_writing_shift_nothing(start: Start) -> None:
    stop = start("stop_phrase", phrases=["ab"], action="replace", replacement="_")
    assert "".join(stop.filtered("\u0130\u0130AB", "x")) == "\u0130\u0130_x"


@given(st.lists(st.sampled_from(["a", "b", "ab", "ba", "aab", " "]), max_size=12))
def test_phrases_are_found_however_the_text_is_cut(pieces: list[str]) -> None:
    stop = Running("stop_phrase", {"phrases": ["aab", "ab", "bb"], "action": "replace"})
    assert "".join(stop.filtered(*pieces)) == "".join(stop.filtered("".join(pieces)))


def ended(code: str = "", **fields: float) -> FinishedContext:
    figures = {"queue_time": 0.5, "ttft": 0.5, "duration": 2.0, **fields}
    return FinishedContext("r", "m", "viewer", "" if code else "stop", code, 5, 11, 0, **figures)


def test_the_monitor_sums_up_how_requests_ended(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "plugins_app.core.performance_monitor")
    monitor = start("performance_monitor", interval=86400)
    for context in (ended(), ended(), ended("QUEUE_FULL")):
        assert monitor(context) is context
    assert caplog.text == ""
    monitor.runner.close()
    assert "3 requests" in caplog.text
    assert "(stop 2, QUEUE_FULL 1)" in caplog.text
    assert "ttft p50 0.500, p95 0.500; per request p50 10.000 tokens/s" in caplog.text


def test_the_monitor_names_slow_requests(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    monitor = start("performance_monitor", slow_ttft=0.4, slow_duration=5)
    monitor(ended())
    assert "request r of model m: ttft 0.50 s, over 0.40 s" in caplog.text
    assert "duration" not in caplog.text
