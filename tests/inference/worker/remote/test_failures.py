"""Upstreams that refuse, break off or talk nonsense: what their callers are told."""

from __future__ import annotations

from typing import Any

import pytest

from inference.protocol import (
    Usage,
)
from inference.worker.engine_process import EngineDiedError
from llamagpu.lib.error_codes import ErrorCode
from tests.fake_upstream import (
    FakeUpstream,
    cut_after,
    endless_header,
    endless_line,
    say,
    send,
    status,
)
from tests.inference.worker.remote.conftest import (
    KEY,
    MakeEngine,
    answer,
    text_of,
)


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (400, {"error": {"message": "top_k: bad"}}, ErrorCode.INVALID_INPUT),
        (422, {"detail": "top_k: bad"}, ErrorCode.INVALID_INPUT),
        (
            400,
            {"error": {"message": "This model's maximum context length is 8 tokens."}},
            ErrorCode.CONTEXT_LENGTH_EXCEEDED,
        ),
        (400, {"error": {"code": "context_length_exceeded"}}, ErrorCode.CONTEXT_LENGTH_EXCEEDED),
        (401, None, ErrorCode.BACKEND_UNAVAILABLE),
        (403, None, ErrorCode.BACKEND_UNAVAILABLE),
        (404, None, ErrorCode.MODEL_LOAD_FAILED),
        (418, None, ErrorCode.BACKEND_UNAVAILABLE),
    ],
)
def test_refusals_are_told_by_their_kind_and_not_repeated(
    upstream: FakeUpstream, make_engine: MakeEngine, code: int, body: Any, expected: ErrorCode
) -> None:
    upstream.will(status(code, body))
    (failed,) = answer(make_engine())
    assert failed.code is expected
    assert len(upstream.asked) == 1
    assert failed.usage == Usage()


def test_the_reason_of_a_refusal_names_no_address_and_no_key(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    reason = f"key {KEY} is bad at {upstream.url} or 10.1.2.3:99 \x1b[31m\n" + "long " * 200
    upstream.will(status(400, {"error": {"message": reason}}))
    (failed,) = answer(make_engine())
    assert KEY not in failed.message
    assert "127.0.0.1" not in failed.message
    assert "10.1.2.3" not in failed.message
    assert failed.message.isprintable()
    assert len(failed.message) < 400


def test_a_busy_upstream_is_asked_again_when_it_says(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    busy = status(429, Retry_After="0")
    upstream.will(busy, busy, busy, busy, busy, say("at last"))
    assert answer(make_engine())[-1].text == "at last"
    assert len(upstream.asked) == 6


def test_a_wait_beyond_the_deadline_is_not_begun(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(status(429, Retry_After="3600"))
    (failed,) = answer(make_engine())
    assert failed.code is ErrorCode.QUEUE_FULL
    assert len(upstream.asked) == 1


def test_a_failing_upstream_is_asked_thrice(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    driver = make_engine()
    upstream.will(status(500), status(503), say("well"))
    assert answer(driver)[-1].text == "well"
    upstream.will(status(500))
    (failed,) = answer(driver)
    assert failed.code is ErrorCode.BACKEND_UNAVAILABLE
    assert len(upstream.asked) == 6


def test_a_connection_cut_before_the_first_token_is_made_again(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(cut_after(), say("well"))
    assert answer(make_engine())[-1].text == "well"


def test_an_answer_cut_in_its_middle_leaves_the_job_to_its_next_attempt(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(cut_after("lost "))
    events = answer(make_engine())
    assert text_of(events) == "lost "
    assert isinstance(events[-1], EngineDiedError)


def test_an_error_in_the_middle_of_a_stream_is_a_cut(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(send({"choices": [{"delta": {"content": "a"}}]}, {"error": {"message": "oom"}}))
    assert isinstance(answer(make_engine())[-1], EngineDiedError)


def test_an_end_without_a_word_of_it_is_a_cut(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    def end_early(handler: Any) -> None:
        handler.begin_stream()
        handler.word("a")
        handler.chunk(b"")

    upstream.will(end_early)
    assert isinstance(answer(make_engine())[-1], EngineDiedError)


@pytest.mark.parametrize(
    "behaviour",
    [
        send(b"data: {not json\n\n"),
        send(b'data: {"choices": 7}\n\n'),
        send({"choices": [{"index": 5, "delta": {"content": "a"}}]}),
        send(b"data: " + b"[" * 100_000 + b"\n\n"),
        send(b'data: {"choices": [{"delta": {"content": "\\ud800"}}]}\n\n'),
        lambda handler: handler.reply(200, b"<html>", "text/html", {}),
        lambda handler: handler.reply(200, b"x", "text/event-stream", {"Content-Encoding": "gzip"}),
        endless_line,
    ],
    ids=["json", "type", "index", "depth", "surrogate", "html", "gzip", "endless"],
)
def test_garbage_ends_the_request_alone(
    upstream: FakeUpstream, make_engine: MakeEngine, behaviour: Any
) -> None:
    driver = make_engine()
    upstream.will(behaviour)
    failed = answer(driver)[-1]
    assert failed.code is ErrorCode.BACKEND_UNAVAILABLE
    upstream.will(say("well"))
    assert answer(driver)[-1].text == "well"


def test_headers_without_an_end_are_not_read(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(endless_header)
    assert answer(make_engine())[-1].code is ErrorCode.BACKEND_UNAVAILABLE


def test_a_stream_longer_than_its_answer_could_be_is_left(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    def babble(handler: Any) -> None:
        handler.begin_stream()
        while True:
            handler.chunk(b": " + b"x" * 65536 + b"\n")

    upstream.will(babble)
    assert answer(make_engine(), max_tokens=1)[-1].code is ErrorCode.BACKEND_UNAVAILABLE


def test_a_censored_answer_is_no_answer(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.will(say("a", reason="content_filter"))
    assert answer(make_engine())[-1].code is ErrorCode.INFERENCE_FAILED


def test_a_redirect_is_not_followed(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.will(status(307, Location="http://169.254.169.254/latest/meta-data"))
    (failed,) = answer(make_engine())
    assert failed.code is ErrorCode.BACKEND_UNAVAILABLE
    assert "redirect" in failed.message
    assert "169" not in failed.message
    assert len(upstream.asked) == 1
