"""How the tokens of our own portal are counted."""

from __future__ import annotations

import io
import json
from typing import Any, cast

from inference.benchmark.engines.http_stream import read_whole
from inference.benchmark.engines.portal import _count, _count_all

END = {"position": 6, "is_complete": True, "usage": {"completion_tokens": 8}}


def count(events: list[dict[str, Any]]) -> list[int]:
    counts: list[int] = []
    for event in events:
        counts.append(_count(event, sum(counts)))
    return counts


def test_a_piece_of_several_tokens_counts_them_all() -> None:
    pieces = [{"position": 0, "is_complete": False}, {"position": 3, "is_complete": False}]
    assert count(pieces) == [1, 3]


def test_tokens_without_a_text_come_with_the_last_word() -> None:
    assert count([{"position": 6, "is_complete": False}, END]) == [7, 1]


def test_an_event_about_something_else_holds_none() -> None:
    assert count([{"attempt": 2}]) == [0]


def test_a_whole_answer_says_how_many_it_has() -> None:
    body = {"metadata": {"usage": {"completion_tokens": 5}}}
    (answer,) = read_whole(cast(Any, io.BytesIO(json.dumps(body).encode())))
    assert _count_all(answer, 0) == 5
