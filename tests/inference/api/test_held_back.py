"""What a reader gets while plugins hold an answer back: signs of life, then the text in one piece."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from django.test import RequestFactory

from inference.api import responses
from inference.openai_api import answers
from inference.protocol import DoneEvent, FinishReason, Timings, TokenEvent, Usage
from inference.stream import Placed, Position
from tests.inference.openai_api.test_answers import (  # noqa: F401  a fixture
    chat_shape,
    chunks,
    frames,
    streams,
)

DONE = DoneEvent("HI THERE", FinishReason.STOP, Usage(1, 3), Timings(), "m", "cpu")
EVENTS = (TokenEvent("", 0), TokenEvent("", 1), TokenEvent("HI THERE", 2), DONE)


async def placed() -> AsyncIterator[Placed | None]:
    for number, event in enumerate(EVENTS, start=1):
        yield Position(1, number), event


async def test_sse_is_kept_open_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "_HEARTBEAT_AFTER", 0.0)
    request: Any = RequestFactory().post("/api/stream_infer")
    answer: Any = responses.stream_events(request, "j", placed())
    text = b"".join([part async for part in answer]).decode()
    first, *rest = text.removesuffix("\n\n").split("\n\n")
    assert first.startswith("retry")
    assert rest[:2] == [": heartbeat", ": heartbeat"]
    assert rest[2].startswith('id: 1-3\ndata: {"token": "HI THERE", "position": 2')
    assert '"final_text": "HI THERE"' in rest[3]
    assert len(rest) == 4


async def test_openai_streams_too(monkeypatch: pytest.MonkeyPatch, streams: Any) -> None:  # noqa: F811
    monkeypatch.setattr(answers, "_HEARTBEAT_AFTER", 0.0)
    stream = streams()
    stream.say(*EVENTS)
    lines = await frames(stream, chat_shape())
    assert ": ping" in lines
    said = [part["choices"][0]["delta"].get("content", "") for part in chunks(lines)]
    assert said == ["", "HI THERE", ""]
