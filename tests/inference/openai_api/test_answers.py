"""Answers under /v1 as they come out of a job's stream: chunks, errors in the middle, restarts."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import RequestFactory

from accounts.rights_watch import Holder
from inference.openai_api import answers
from inference.openai_api.chat_shape import ChatShape
from inference.openai_api.completion_shape import CompletionShape, Echo
from inference.openai_api.events import SentAnswer
from inference.openai_api.shape import Shape
from inference.openai_api.submission import Submitted
from inference.openai_api.tool_fields import ToolUse
from inference.presence import WorkerReport, announce
from inference.protocol import (
    Choice,
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    Prompt,
    RestartEvent,
    SamplingParams,
    StreamEvent,
    Timings,
    TokenEvent,
    TokenLogprob,
    Usage,
)
from inference.stream import JobKeys, append
from inference.stream_hub import hub_of_this_loop
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.worker.conftest import wait_until


def done(text: str, choices: tuple[Choice, ...] = ()) -> DoneEvent:
    usage = Usage(3, 2, 1)
    timings = Timings(0.0, 0.01, 0.02)
    return DoneEvent(text, FinishReason.STOP, usage, timings, "m", "cpu", choices=choices)


class Stream:
    """Jobs in the hands of a worker that says what a test tells it to."""

    def __init__(self, redis_client: Any, num_jobs: int, n: int) -> None:
        self._redis = redis_client
        now = time.time()
        self.jobs = tuple(
            GenerationJob(
                job_id=str(uuid.uuid4()),
                attempt=1,
                request_id="r",
                model="m",
                prompt=Prompt(text="hi"),
                params=SamplingParams(n=n),
                created_unix=now,
                deadline_unix=now + 60,
            )
            for _ in range(num_jobs)
        )
        self.submitted = Submitted(self.jobs, Holder(1, INFER))
        self._numbers = dict.fromkeys(range(num_jobs), 0)

    def say(self, *events: StreamEvent, job: int = 0, attempt: int = 1) -> None:
        for event in events:
            self._numbers[job] += 1
            pipeline = self._redis.pipeline()
            entry = f"{attempt}-{self._numbers[job]}"
            append(pipeline, JobKeys(self.jobs[job].job_id), entry, event, 60)
            pipeline.execute()

    def is_cancelled(self, job: int = 0) -> bool:
        return bool(self._redis.exists(JobKeys(self.jobs[job].job_id).cancel))


@pytest.fixture
async def streams(redis_client: Any) -> AsyncIterator[Any]:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 1, 8))
    yield lambda num_jobs=1, n=1: Stream(redis_client, num_jobs, n)
    await hub_of_this_loop().close()


def request() -> Any:
    made = RequestFactory().post("/v1/chat/completions")
    made.received_at = time.perf_counter()  # type: ignore[attr-defined]
    made.answer_headers = {}  # type: ignore[attr-defined]
    return made


def chat_shape(*, include_usage: bool = False) -> ChatShape:
    return ChatShape("m", ToolUse(), include_usage=include_usage)


async def frames(stream: Stream, shape: Shape) -> list[str]:
    response: Any = await answers.stream(request(), stream.submitted, shape)
    assert response.status_code == 200
    assert response["Content-Type"] == "text/event-stream"
    assert response["X-Accel-Buffering"] == "no"
    text = b"".join([part async for part in response]).decode()
    assert text.endswith("\n\n")
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def chunks(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines if line.startswith("{")]


async def test_role_content_reason_usage_and_the_end_come_in_order(streams: Any) -> None:
    stream = streams()
    logprob = TokenLogprob("Hé", -0.5, (("Hé", -0.5), ("\ufffd", -1.0)))
    stream.say(TokenEvent("Hé", 0, (logprob,)), TokenEvent("llo", 1), done("Héllo"))
    lines = await frames(stream, chat_shape(include_usage=True))
    assert lines[-1] == "[DONE]"
    parts = chunks(lines)
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    assert len({part["id"] for part in parts}) == 1
    choices = [part["choices"][0] for part in parts[:-1]]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(c["delta"].get("content", "") for c in choices) == "Héllo"
    assert [c["finish_reason"] for c in choices] == [None, None, None, "stop"]
    (content,) = choices[1]["logprobs"]["content"]
    assert content["bytes"] == list("Hé".encode())
    assert content["top_logprobs"][1]["bytes"] is None
    assert all(part["usage"] is None for part in parts[:-1])
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 1},
    }  # fmt: skip


async def test_what_fails_before_the_first_token_has_a_status_of_its_own(streams: Any) -> None:
    stream = streams()
    stream.say(ErrorEvent(ErrorCode.MODEL_LOAD_FAILED, "it is broken"))
    response: Any = await answers.stream(request(), stream.submitted, chat_shape())
    assert response.status_code == 500
    assert response["x-should-retry"] == "false"
    assert json.loads(response.content)["error"]["code"] == "model_load_failed"


async def test_a_stream_that_breaks_off_says_why_and_does_not_end_well(streams: Any) -> None:
    stream = streams()
    stream.say(TokenEvent("Hel", 0), ErrorEvent(ErrorCode.INFERENCE_FAILED, "it died"))
    lines = await frames(stream, chat_shape())
    assert "[DONE]" not in lines
    error = chunks(lines)[-1]["error"]
    assert (error["type"], error["message"]) == ("server_error", "it died")


async def test_a_repeated_attempt_goes_on_where_the_caller_is(streams: Any) -> None:
    stream = streams()
    stream.say(TokenEvent("one two ", 1))
    stream.say(RestartEvent(2), TokenEvent("one ", 0), TokenEvent("two three", 2), attempt=2)
    stream.say(done("one two three"), attempt=2)
    parts = chunks(await frames(stream, chat_shape()))
    said = [part["choices"][0]["delta"].get("content", "") for part in parts]
    assert said == ["", "one two ", "three", ""]


async def test_another_answer_after_a_restart_breaks_the_stream_off(streams: Any) -> None:
    stream = streams()
    stream.say(TokenEvent("one ", 0))
    stream.say(RestartEvent(2), TokenEvent("uno ", 0), attempt=2)
    lines = await frames(stream, chat_shape())
    assert chunks(lines)[-1]["error"]["code"] == "inference_failed"
    await asyncio.to_thread(wait_until, stream.is_cancelled, "the job is cancelled")


async def test_what_a_plugin_appends_is_sent_too(streams: Any) -> None:
    stream = streams()
    stream.say(TokenEvent("x", 0), done("x!"))
    parts = chunks(await frames(stream, chat_shape()))
    assert "".join(p["choices"][0]["delta"].get("content", "") for p in parts) == "x!"


async def test_several_prompts_and_answers_keep_their_numbers(streams: Any) -> None:
    stream = streams(num_jobs=2, n=2)
    for job in (1, 0):
        pair = tuple(Choice(i, f"{job}{i}", FinishReason.LENGTH) for i in range(2))
        stream.say(*(TokenEvent(c.text, 0, index=c.index) for c in pair), job=job)
        stream.say(done(f"{job}0", pair), job=job)
    shape = CompletionShape("m", [Echo("A"), Echo("B")], 2, include_usage=True)
    parts = chunks(await frames(stream, shape))
    texts: dict[int, str] = {}
    for part in parts[:-1]:
        (choice,) = part["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    assert texts == {0: "A00", 1: "A01", 2: "B10", 3: "B11"}
    assert parts[-1]["usage"]["completion_tokens"] == 4
    shape = CompletionShape("m", [Echo("A"), Echo("B")], 2, include_usage=False)
    response: Any = await answers.collect(request(), stream.submitted, shape)
    body = json.loads(response.content)
    assert {c["index"]: c["text"] for c in body["choices"]} == texts
    assert body["usage"]["prompt_tokens"] == 6
    assert float(response["X-LlamaGPU-Overhead-Ms"]) >= 0
    assert int(response["openai-processing-ms"]) >= 0


async def test_one_failed_prompt_fails_the_call_and_ends_the_others(streams: Any) -> None:
    stream = streams(num_jobs=2)
    stream.say(TokenEvent("x", 0))
    stream.say(ErrorEvent(ErrorCode.INVALID_INPUT, "prompt: no"), job=1)
    shape = CompletionShape("m", [], 1, include_usage=False)
    response: Any = await answers.collect(request(), stream.submitted, shape)
    assert response.status_code == 400
    assert json.loads(response.content)["error"]["param"] == "prompt"
    await asyncio.to_thread(wait_until, stream.is_cancelled, "the other job is cancelled")


@pytest.mark.parametrize("num_jobs", [1, 2])
async def test_who_leaves_ends_every_job(streams: Any, num_jobs: int) -> None:
    stream = streams(num_jobs=num_jobs)
    stream.say(TokenEvent("x", 0))
    response: Any = await answers.stream(request(), stream.submitted, chat_shape())
    has_begun = asyncio.Event()

    async def read() -> None:
        async for _ in response:
            has_begun.set()

    reader = asyncio.create_task(read())
    await has_begun.wait()
    reader.cancel()
    for job in range(num_jobs):
        gone = await asyncio.to_thread(wait_until, lambda n=job: stream.is_cancelled(n), "the end")
        assert gone


async def test_a_quiet_stream_is_kept_open_with_comments(
    streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "STATUS_PATIENCE", 0.0)
    monkeypatch.setattr(answers, "_HEARTBEAT_AFTER", 0.0)
    monkeypatch.setattr("inference.stream_hub.LOOK_AROUND", 0.02)
    stream = streams()
    response: Any = await answers.stream(request(), stream.submitted, chat_shape())
    parts = aiter(response)
    assert await anext(parts) == b": ping\n\n"
    stream.say(done("x"))
    assert b"[DONE]" in b"".join([part async for part in parts])


def test_log_probabilities_are_not_repeated() -> None:
    answer = SentAnswer()
    first, second, third = (TokenLogprob(token, -1.0) for token in "abc")
    assert answer.news_in("ab", (first, second)) == ("ab", (first, second))
    answer.restart()
    assert answer.news_in("a", (first,)) == ("", ())
    assert answer.news_in("bc", (second, third)) == ("c", (third,))
    with pytest.raises(AppError):
        replace(answer, _text="x").news_in("", ())
