"""An upstream behind the driver that stands in for an engine process: what goes over, what comes back."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from inference.protocol import (
    ChatMessage,
    Delta,
    Failed,
    Finished,
    FinishReason,
    Grammar,
    GrammarKind,
    Prompt,
    Started,
    TokenLogprob,
    ToolCall,
    Usage,
)
from inference.states import ModelState
from inference.worker.engine_process import EngineDiedError, EngineLoadError
from llamagpu.lib.error_codes import ErrorCode
from tests.fake_upstream import (
    MODEL,
    FakeUpstream,
    cut_after,
    endless_header,
    endless_line,
    hang_after,
    models,
    say,
    send,
    status,
)
from tests.inference.worker.conftest import wait_until
from tests.inference.worker.remote.conftest import (
    KEY,
    MakeEngine,
    answer,
    events_of,
    request,
    text_of,
)

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def test_an_answer_is_streamed_and_counted_by_the_upstream(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(say("one ", "two"))
    started, first, second, last = answer(make_engine())
    assert isinstance(started, Started)
    assert (first, second) == (Delta("job.1", "one ", 1), Delta("job.1", "two", 2))
    assert isinstance(last, Finished)
    assert (last.text, last.finish_reason) == ("one two", FinishReason.STOP)
    assert last.usage == Usage(7, 2, 3)
    assert 0 < last.timings.ttft <= last.timings.inference_time
    (asked,) = upstream.asked
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.body == {
        "model": MODEL,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 1.0,
        "top_p": 1.0,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "hi"}],
    }


def test_parameters_go_over_where_they_were_set(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    answer(
        make_engine(),
        temperature=0.0, top_k=5, min_p=0.1, seed=3, stop=("END",), logit_bias=((7, -2.0),),
        presence_penalty=0.5, min_tokens=2, ignore_eos=True, repetition_penalty=1.2, max_tokens=9,
    )  # fmt: skip
    body = upstream.asked[0].body
    expected = {"temperature": 0.0, "top_k": 5, "min_p": 0.1, "seed": 3, "stop": ["END"]}
    expected |= {"logit_bias": {"7": -2.0}, "presence_penalty": 0.5, "min_tokens": 2}
    expected |= {"ignore_eos": True, "repetition_penalty": 1.2, "max_tokens": 9}
    assert {name: body[name] for name in expected} == expected


def test_an_answer_that_may_take_all_that_is_left_is_not_bounded_by_us(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    answer(make_engine(), max_tokens=1000)
    assert "max_tokens" not in upstream.asked[0].body


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        (Prompt(text="Once", is_raw=True), "Once"),
        (Prompt(token_ids=(1, 2, 3)), [1, 2, 3]),
    ],
)
def test_plain_text_and_token_ids_are_completed(
    upstream: FakeUpstream, make_engine: MakeEngine, prompt: Prompt, sent: Any
) -> None:
    upstream.will(say("upon"))
    assert text_of(answer(make_engine(), prompt=prompt)) == "upon"
    assert upstream.asked[0].path == "/v1/completions"
    assert upstream.asked[0].body["prompt"] == sent


def test_several_answers_keep_apart(upstream: FakeUpstream, make_engine: MakeEngine) -> None:
    upstream.will(say("a", "b", reason="length"))
    events = answer(make_engine(), n=2)
    last = events[-1]
    assert [choice.text for choice in last.choices] == ["ab", "ab"]
    assert last.finish_reason is FinishReason.LENGTH
    assert last.usage.completion_tokens == 4


def test_log_probabilities_come_in_either_form(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    top = [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.5}]
    content = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": top}]}
    plain = {"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5, "b": -1.5}]}
    expected = (TokenLogprob("a", -0.5, (("a", -0.5), ("b", -1.5))),)
    driver = make_engine()
    ends = {"index": 0, "finish_reason": "stop"}
    upstream.will(
        send({"choices": [{**ends, "delta": {"content": "a"}, "logprobs": content}]}),
        send({"choices": [{**ends, "text": "a", "logprobs": plain}]}),
    )
    assert answer(driver, logprobs=2)[-1].logprobs == expected
    assert upstream.asked[0].body["top_logprobs"] == 2
    prompt = Prompt(text="a", is_raw=True)
    assert answer(driver, logprobs=2, prompt=prompt)[-1].logprobs == expected
    assert upstream.asked[1].body["logprobs"] == 2


def test_calls_of_functions_become_the_text_that_a_model_would_have_written(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    def call(**function: str) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]}

    upstream.will(
        send(
            call(name="weather", arguments=""),
            call(arguments='{"in": "</tool'),
            call(arguments='_call>"}'),
            {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]},
        )
    )
    history = (
        ChatMessage("user", "Warm?"),
        ChatMessage("assistant", "", tool_calls=(ToolCall("c1", "weather", "{}"),)),
        ChatMessage("tool", "20", tool_call_id="c1"),
    )
    prompt = Prompt(messages=history, tools=(WEATHER,))
    text = answer(make_engine(), prompt=prompt)[-1].text
    assert text.startswith("<tool_call>")
    assert text.count("</tool_call>") == 1
    told = json.loads(text.removeprefix("<tool_call>").removesuffix("</tool_call>"))
    assert told == {"name": "weather", "arguments": '{"in": "</tool_call>"}'}
    body = upstream.asked[0].body
    assert body["tools"] == [WEATHER]
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]
    assert body["messages"][1]["tool_calls"][0]["function"]["name"] == "weather"


def test_a_forced_call_is_a_form_and_the_functions_are_told_in_words(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    grammar = Grammar(GrammarKind.JSON_SCHEMA, '{"type": "object"}')
    prompt = Prompt(messages=(ChatMessage("user", "Warm?"),), tools=(WEATHER,))
    answer(make_engine(), prompt=prompt, grammar=grammar)
    body = upstream.asked[0].body
    assert "tools" not in body
    assert '"weather"' in body["messages"][0]["content"]
    assert body["response_format"]["json_schema"]["schema"] == {"type": "object"}


@pytest.mark.parametrize(
    ("capabilities", "fields", "named"),
    [
        ({"chat"}, {"logprobs": 1}, "logprobs: "),
        ({"chat"}, {"grammar": Grammar(GrammarKind.JSON_OBJECT)}, "response_format: "),
        ({"chat"}, {"prompt": Prompt(token_ids=(1,))}, "prompt: "),
        ({"completions"}, {}, "messages: "),
        ({"chat", "json_schema"}, {"grammar": Grammar(GrammarKind.REGEX, "a")}, "response_format"),
        ({"chat"}, {"prompt_logprobs": 1}, "prompt_logprobs: "),
        ({"chat"}, {"prompt": Prompt(inputs=(Prompt(text="a"),))}, "input: "),
    ],
)
def test_what_the_upstream_does_not_offer_is_refused_by_name_and_never_asked(
    upstream: FakeUpstream,
    make_engine: MakeEngine,
    capabilities: set[str],
    fields: Any,
    named: str,
) -> None:
    driver = make_engine(capabilities=frozenset(capabilities))
    (failed,) = answer(driver, **fields)
    assert failed.code is ErrorCode.INVALID_INPUT
    assert failed.message.startswith(named)
    assert upstream.asked == []


# ------------------------------------------------------------------ usage


def test_an_upstream_that_counts_nothing_is_counted_by_its_chunks(
    upstream: FakeUpstream, make_engine: MakeEngine
) -> None:
    upstream.will(say("a", "b", "c", usage=None))
    usage = answer(make_engine())[-1].usage
    assert usage.is_estimated
    assert usage.completion_tokens == 3
    assert usage.prompt_tokens > 0


@pytest.mark.parametrize("usage", [(-1, 2, 0), (1, 10**12, 0)])
def test_counts_that_cannot_be_are_not_believed(
    upstream: FakeUpstream, make_engine: MakeEngine, usage: Any
) -> None:
    upstream.will(say("a", usage=usage))
    counted = answer(make_engine())[-1].usage
    assert (counted.completion_tokens, counted.is_estimated) == (1, True)


# ------------------------------------------------------------------ failures


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


# ------------------------------------------------------------------ time and cancellation


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


# ------------------------------------------------------------------ is it there


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
