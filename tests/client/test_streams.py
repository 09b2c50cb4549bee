"""A stream that is cut goes on where it was: no token is lost, none comes twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import llamagpu_client as lg
from llamagpu_client.reading import Reading
from tests.client.test_errors import Script, refused

WORDS = ["The ", "capital ", "is ", "Paris", "."]
TEXT = "".join(WORDS)
USAGE = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10, "cached_tokens": 0}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)


def frame(place: str, data: dict[str, Any], name: str = "") -> str:
    head = f"event: {name}\n" if name else ""
    return f"id: {place}\n{head}data: {json.dumps(data)}\n\n"


def token(number: int, attempt: int = 1, words: list[str] = WORDS) -> str:
    data = {"token": words[number], "position": number, "is_complete": False}
    return frame(f"{attempt}-{number + 1}", data)


def end(attempt: int = 1, text: str = TEXT, place: str = "") -> str:
    data = {
        "token": "", "position": 4, "is_complete": True, "final_text": text,
        "finish_reason": "stop", "usage": USAGE,
    }  # fmt: skip
    return frame(place or f"{attempt}-{len(WORDS) + 1}", data)


def restart(attempt: int) -> str:
    return frame(f"{attempt}-0", {"attempt": attempt}, "restart")


WHOLE = ["retry: 1000\n\n", *map(token, range(5)), ": heartbeat\n\n", end()]


class Body(httpx.SyncByteStream):
    """Chunks of a stream, then an end or a break."""

    def __init__(self, chunks: list[str], *, is_cut: bool) -> None:
        self.chunks, self.is_cut, self.is_closed = chunks, is_cut, False

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self.chunks:
            yield chunk.encode()
        if self.is_cut:
            raise httpx.ReadError("cut")

    def close(self) -> None:
        self.is_closed = True


def part(chunks: list[str], *, is_cut: bool = False) -> httpx.Response:
    headers = {"X-Job-ID": "j1", "X-Request-ID": "req_1", "Content-Type": "text/event-stream"}
    return httpx.Response(200, headers=headers, stream=Body(chunks, is_cut=is_cut))


def test_tokens_come_one_by_one_and_the_answer_in_the_end() -> None:
    script = Script(part(WHOLE))
    with script.client().stream("hello", temperature=0) as stream:
        tokens = list(stream)
    assert [str(piece) for piece in tokens] == WORDS
    assert [piece.position for piece in tokens] == [0, 1, 2, 3, 4]
    assert stream.result.generated_text == TEXT
    assert stream.result.usage.total_tokens == 10
    assert (stream.job_id, stream.request_id) == ("j1", "req_1")
    (request,) = script.requests
    assert json.loads(request.content)["resumable"] is True


@given(st.data())
def test_wherever_it_is_cut_nothing_is_lost_or_repeated(data: st.DataObject) -> None:
    """Cut at any bytes, any number of times, also in the middle of an event."""
    frames = [*map(token, range(5)), end()]
    responses, have = [], 0
    for _ in range(data.draw(st.integers(0, 4))):
        text = "".join(frames[have:])
        cut = data.draw(st.integers(0, len(text) - 1))
        responses.append(part([text[:cut]], is_cut=data.draw(st.booleans())))
        have += text[:cut].count("\n\n")
    script = Script(*responses, part(frames[have:]))
    client = script.client(max_retries=5)
    assert "".join(piece.text for piece in client.stream("hello")) == TEXT
    for request in script.requests[1:]:
        assert request.url.path == "/api/jobs/j1/events"


def test_a_new_connection_asks_for_what_follows_the_last_event() -> None:
    script = Script(part(WHOLE[:4], is_cut=True), part(WHOLE[4:]))
    assert "".join(map(str, script.client().stream("hello"))) == TEXT
    assert script.requests[1].headers["Last-Event-ID"] == "1-3"


def test_an_answer_that_was_begun_anew_is_told_once() -> None:
    again = [restart(2), *(token(number, 2) for number in range(5)), end(2)]
    script = Script(part([*WHOLE[:4], *again]))
    assert [str(piece) for piece in script.client().stream("hello")] == WORDS


def test_the_end_alone_makes_good_what_was_missed() -> None:
    script = Script(part(WHOLE[:4], is_cut=True), part([restart(2), end(2, place="3-1")]))
    assert "".join(map(str, script.client().stream("hello"))) == TEXT
    script = Script(part([], is_cut=True), part([end(place="2-1")]))
    assert "".join(map(str, script.client().stream("hello"))) == TEXT


def test_another_answer_after_a_restart_is_an_error_and_its_job_is_ended() -> None:
    other = [restart(2), token(0, 2, ["It ", "is "])]
    script = Script(part([*WHOLE[:4], *other]), {"job": {}})
    read = []
    with pytest.raises(lg.StreamDiverged) as caught:
        for piece in script.client().stream("hello"):
            read.append(str(piece))
    assert read == WORDS[:3]
    assert caught.value.job_id == "j1"
    assert script.requests[-1].method == "DELETE"


def test_who_breaks_off_ends_the_job_and_the_connection() -> None:
    response = part(WHOLE)
    script = Script(response, {"job": {}})
    for _ in script.client().stream("hello"):
        break
    assert response.is_closed
    assert (script.requests[1].method, script.requests[1].url.path) == ("DELETE", "/api/jobs/j1")


def test_closing_ends_the_job_once() -> None:
    script = Script(part(WHOLE), {"job": {}})
    with script.client().stream("hello") as stream:
        next(iter(stream))
    stream.close()
    assert len(script.requests) == 2
    script = Script(part(WHOLE))
    with script.client().stream("hello") as stream:
        list(stream)
    assert len(script.requests) == 1


def test_an_error_in_the_middle_is_raised() -> None:
    body = {"error": {"code": "DEADLINE_EXCEEDED", "message": "too long"}, "request_id": "req_1"}
    script = Script(part([*WHOLE[:3], frame("1-3", body, "error")]))
    with pytest.raises(lg.DeadlineExceeded) as caught:
        list(script.client().stream("hello"))
    assert (caught.value.job_id, caught.value.request_id) == ("j1", "req_1")
    assert len(script.requests) == 1


def test_a_refused_stream_is_raised_before_the_first_token() -> None:
    script = Script(refused(429, "QUOTA_EXCEEDED"))
    with pytest.raises(lg.QuotaExceeded), script.client().stream("hello"):
        pass


def test_a_stream_that_stays_cut_is_given_up() -> None:
    cut = [part([], is_cut=True) for _ in range(3)]
    script = Script(*cut, {"job": {}})
    with pytest.raises(lg.ConnectionFailed) as caught:
        list(script.client().stream("hello"))
    assert caught.value.job_id == "j1"


def test_the_answer_is_not_there_before_the_end() -> None:
    stream = Script(part(WHOLE)).client().stream("hello")
    with pytest.raises(RuntimeError):
        _ = stream.result


@given(st.text(), st.integers(1, 5))
def test_any_text_comes_through(text: str, size: int) -> None:
    reading, told = Reading(), ""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    lines = []
    for number, piece in enumerate(pieces):
        data = {"token": piece, "position": number, "is_complete": False}
        lines += frame(f"1-{number + 1}", data).split("\n")[:-1]
    lines += end(text=text).split("\n")[:-1]
    for line in lines:
        piece = reading.feed(line)
        told += str(piece) if piece else ""
    assert told == text
