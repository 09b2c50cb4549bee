"""Time, cancellation and health: an upstream that is slow, silent, gone or back."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from inference.protocol import (
    Failed,
    Prompt,
)
from inference.states import ModelState
from inference.worker.engine_process import EngineDiedError, EngineLoadError
from llamagpu.lib.error_codes import ErrorCode
from tests.fake_upstream import (
    MODEL,
    FakeUpstream,
    hang_after,
    models,
    say,
    status,
)
from tests.inference.worker.conftest import wait_until
from tests.inference.worker.remote.conftest import (
    KEY,
    MakeEngine,
    answer,
    events_of,
    request,
)


@pytest.mark.parametrize("begins", [True, False])
def test_cancelling_closes_the_connection(
    upstream: FakeUpstream, make_engine: MakeEngine, begins: bool
) -> None:
    driver = make_engine()
    driver.wait_ready(30)
    upstream.will(hang_after(*(["a"] if begins else []), begins=begins))
    ticket = driver.submit(request())
    wait_until(lambda: upstream.asked, "the upstream is asked")
    driver.cancel("job.1")
    assert events_of(ticket)[-1].code is ErrorCode.CANCELLED
    assert upstream.hung_up.wait(30)
    assert driver.num_open == 0


def test_a_cancelled_answer_is_billed_by_what_came(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    driver = make_engine()
    driver.wait_ready(30)
    upstream.will(hang_after("a", "b"))
    ticket = driver.submit(request())
    while getattr(ticket.next_event(30), "num_tokens", 0) < 2:
        pass
    driver.cancel("job.1")
    usage = events_of(ticket)[-1].usage
    assert (usage.completion_tokens, usage.is_estimated) == (2, True)


def test_a_wait_for_a_busy_upstream_can_be_cancelled(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    driver = make_engine()
    driver.wait_ready(30)
    upstream.will(status(429, Retry_After="20"))
    ticket = driver.submit(request())
    wait_until(lambda: upstream.asked, "the upstream is asked")
    driver.cancel("job.1")
    assert events_of(ticket)[-1].code is ErrorCode.CANCELLED


def test_the_deadline_holds(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.will(hang_after("a"))
    last = answer(make_engine(), timeout=0.3)[-1]
    assert last.code is ErrorCode.DEADLINE_EXCEEDED
    assert last.usage.completion_tokens == 1
    assert upstream.hung_up.wait(30)


def test_silence_ends_a_request(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.will(hang_after("a"))
    last = answer(make_engine(silence=0.3))[-1]
    assert last.code is ErrorCode.BACKEND_UNAVAILABLE
    assert "sent nothing" in last.message


def test_no_more_requests_are_under_way_than_it_has_places(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    driver = make_engine(num_slots=1)
    driver.wait_ready(30)
    upstream.will(hang_after("a"), say("b"))
    first = driver.submit(request())
    wait_until(lambda: upstream.asked, "the first is asked")
    second = driver.submit(request().__class__("job2.1", Prompt(text="hi"), request().params, 30.0))
    driver.ask_stats()
    assert driver.stats is not None
    assert (driver.stats.num_running, driver.stats.num_waiting) == (1, 1)
    driver.cancel("job.1")
    assert events_of(first)[-1].code is ErrorCode.CANCELLED
    assert events_of(second)[-1].text == "b"


def test_a_ready_driver_says_what_it_serves(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.listing = models("other", MODEL, max_model_len=512)
    driver = make_engine()
    info = driver.wait_ready(30)
    assert (info.backend, info.max_model_len, driver.state) == ("remote", 512, ModelState.READY)
    assert upstream.probes[0] == "/v1/models"


@pytest.mark.parametrize(
    ("listing", "code", "words"),
    [
        (status(401), ErrorCode.BACKEND_UNAVAILABLE, "key"),
        (status(404), ErrorCode.MODEL_LOAD_FAILED, "no such"),
        (status(500), ErrorCode.BACKEND_UNAVAILABLE, "500"),
        (status(302, Location="http://10.0.0.1/"), ErrorCode.BACKEND_UNAVAILABLE, "redirect"),
        (models("another"), ErrorCode.MODEL_LOAD_FAILED, "serves no model"),
        (status(200, {"data": 5}), ErrorCode.BACKEND_UNAVAILABLE, "understood"),
    ],
)
def test_an_unfit_upstream_fails_to_load_with_the_reason(
    upstream: FakeUpstream, make_engine: MakeEngine, listing: Any, code: ErrorCode, words: str
) -> None:
    upstream.listing = listing
    driver = make_engine()
    with pytest.raises(EngineLoadError, match=words) as failed:
        driver.wait_ready(30)
    assert failed.value.code is code
    assert driver.state is ModelState.FAILED
    assert "127.0.0.1" not in str(failed.value)


def test_one_that_is_only_busy_is_there(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.listing = status(429)
    assert make_engine().wait_ready(30)


def test_one_that_goes_away_ends_the_driver(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    driver = make_engine()
    driver.wait_ready(30)
    upstream.listing = status(503)
    assert driver.wait_gone(30)
    assert driver.error is not None
    assert driver.error.code is ErrorCode.BACKEND_UNAVAILABLE
    with pytest.raises(EngineDiedError):
        driver.submit(request())


def test_a_stop_lets_its_requests_begin_again_elsewhere(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    driver = make_engine()
    driver.wait_ready(30)
    upstream.will(hang_after("a"))
    ticket = driver.submit(request())
    wait_until(lambda: upstream.asked, "the upstream is asked")
    assert driver.drain(0.1) is False
    driver.stop(30)
    assert events_of(ticket)[-1].code is ErrorCode.NO_WORKER
    assert upstream.hung_up.wait(30)


def test_nothing_logs_the_key_or_the_prompt(
    upstream: FakeUpstream, make_engine: MakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.NOTSET)
    driver = make_engine()
    answer(driver, text="a private question")
    upstream.will(status(500))
    answer(driver, text="a private question")
    assert KEY not in caplog.text
    assert "private" not in caplog.text
    assert KEY not in repr(driver.load)
    assert isinstance(answer(driver)[-1], Failed)
