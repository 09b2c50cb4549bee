"""Stages 4 and 6 with plugins: what engine, stream, row and bill see of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inference.models import InferenceJob
from inference.protocol import (
    ChatMessage,
    DoneEvent,
    ErrorEvent,
    GenerationJob,
    Prompt,
    RestartEvent,
    TokenEvent,
    ToolCall,
)
from inference.services.answers import done_event_of
from inference.services.cancellation import request_cancel
from inference.stream import JobKeys
from inference.worker.generation import JobRunner
from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import ChunkContext, Hook, Message, PluginRefusal
from plugins_app.pipeline import PluginsUnknownError
from plugins_app.spec import FailurePolicy
from tests.inference.worker.conftest import events_of, wait_until
from tests.inference.worker.test_generation import run
from tests.plugins_app.links import DirectLink, Plain, link
from tests.plugins_app.sample_plugins import Broken, HoldsAll, Refuses, Suffix, Swaps, Upper

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
CLOSED = FailurePolicy.FAIL_CLOSED
SWAP = {"old": "two three", "new": "23"}


def swap(**fields: Any) -> DirectLink:
    return link(Swaps, "swap", Hook.CHUNK, **{**SWAP, **fields})


def texts_of(events: list[Any], index: int = 0) -> list[str]:
    """The pieces of an answer's last attempt."""
    restarts = [at for at, event in enumerate(events) if isinstance(event, RestartEvent)]
    rest = events[restarts[-1] :] if restarts else events
    return [e.text for e in rest if isinstance(e, TokenEvent) and e.index == index and e.text]


@pytest.mark.parametrize(
    "links",
    [
        [swap()],
        [link(HoldsAll, "all", Hook.CHUNK)],
        [swap(), link(Upper, "upper", Hook.RESULT)],
        [link(Upper, "upper", Hook.CHUNK), link(Suffix, "end", Hook.RESULT, suffix="!")],
        [link(Suffix, "end", Hook.CHUNK, suffix="-")],
    ],
)
def test_the_joined_stream_is_the_final_text(
    links: list[DirectLink], make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    events = run(make_runner(plugins=links), make_job("say one two three four two"), redis_client)
    assert "".join(texts_of(events)) == events[-1].text
    row = InferenceJob.objects.select_related("model").get()
    assert row.output == events[-1].text
    assert done_event_of(row) == events[-1]


def test_a_filter_holds_text_back_across_pieces(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    events = run(
        make_runner(plugins=[swap()]), make_job("say one two three four two"), redis_client
    )
    assert events[-1].text == "one 23 four two "
    assert (events[-1].plugins, events[-1].plugins_after) == (("swap",), ("swap",))
    assert InferenceJob.objects.get().plugins == {"before": [], "after": ["swap"]}


def test_with_an_output_processor_the_stream_is_given_out_in_one_piece(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    """All tokens are counted as they come: a worker that dies has told what it computed."""
    links = [link(Upper, "upper", Hook.RESULT)]
    events = run(make_runner(plugins=links), make_job("say one two three"), redis_client)
    assert texts_of(events) == ["ONE TWO THREE "]
    assert events[-2].position == 2
    assert InferenceJob.objects.get().ttft == 0.01  # the engine's, whatever was held back


def test_every_answer_is_filtered_by_itself(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one two three")
    job = replace(job, params=replace(job.params, n=3))
    links = [swap(), link(Suffix, "end", Hook.RESULT, suffix="!")]
    events = run(make_runner(plugins=links), job, redis_client)
    assert [choice.text for choice in events[-1].choices] == ["one 23 !"] * 3
    assert [texts_of(events, index) for index in range(3)] == [["one 23 !"]] * 3
    assert InferenceJob.objects.get().completion_tokens == 9


@pytest.mark.parametrize(("word", "is_told"), [("nowhere", True), ("two", False)])
def test_log_probabilities_are_told_of_a_text_that_stayed(
    word: str, is_told: bool, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    """They would spell what a filter has taken out."""
    job = make_job("say one two")
    job = replace(job, params=replace(job.params, logprobs=0))
    links = [link(Swaps, "swap", Hook.CHUNK, old=word, new="")]
    events = run(make_runner(plugins=links), job, redis_client)
    streamed = [item for e in events if isinstance(e, TokenEvent) for item in e.logprobs]
    assert [item.token for item in streamed] == (["one ", "two "] if is_told else [])
    assert events[-1].logprobs == (tuple(streamed) or None)


def test_scores_of_a_changed_prompt_are_not_told(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one")
    job = replace(job, params=replace(job.params, prompt_logprobs=0))
    assert run(make_runner(), job, redis_client)[-1].prompt_logprobs == (None,)
    job = replace(make_job("say one"), params=job.params)
    links = [link(Suffix, "more", Hook.PROMPT, suffix=" more")]
    assert run(make_runner("two", links), job, redis_client)[-1].prompt_logprobs is None


def test_a_new_attempt_begins_with_filters_that_know_nothing(
    make_runner: Runner, make_job: Job, redis_client: Any, tmp_path: Path
) -> None:
    prompts = link(Counts, "counts", Hook.PROMPT)
    links = [prompts, link(Swaps, "swap", Hook.CHUNK, old="lost alive", new="wrong")]
    job = make_job(f"die once {tmp_path / 'mark'}")
    events = run(make_runner(plugins=links), job, redis_client)
    assert texts_of(events) == ["alive "]
    assert events[-1].text == "alive "
    assert prompts.plugin.num_calls == 1  # the prompt was read for all attempts


class Counts(Plain):
    num_calls = 0

    def execute(self, input_data: Any) -> Any:
        self.num_calls += 1
        return input_data


def test_a_filter_that_refuses_ends_the_engines_work_and_what_it_did_is_billed(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    links = [link(Refuses, "strict", Hook.CHUNK, word="wait")]
    events = run(make_runner(plugins=links), make_job("hang"), redis_client)
    (error,) = events
    assert error.code is ErrorCode.PLUGIN_REFUSED
    assert error.message == "The plugin 'strict' refused this request: no such words here"
    row = InferenceJob.objects.get()
    assert (row.state, row.completion_tokens) == ("failed", 1)


def test_what_was_given_out_before_a_refusal_stays_given_out(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    links = [link(Refuses, "strict", Hook.CHUNK, word="two")]
    events = run(make_runner(plugins=links), make_job("say one two three"), redis_client)
    assert texts_of(events) == ["one "]
    assert events[-1].code is ErrorCode.PLUGIN_REFUSED


def test_a_result_may_be_withheld(make_runner: Runner, make_job: Job, redis_client: Any) -> None:
    links = [link(Refuses, "strict", Hook.RESULT, word="two")]
    events = run(make_runner(plugins=links), make_job("say one two three"), redis_client)
    assert texts_of(events) == []
    assert events[-1].code is ErrorCode.PLUGIN_REFUSED
    assert InferenceJob.objects.get().output == ""


@pytest.mark.parametrize("hook", [Hook.ADAPT, Hook.PROMPT, Hook.CHUNK, Hook.RESULT])
def test_a_fault_is_skipped_or_ends_the_request_as_its_policy_says(
    hook: Hook, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    events = run(make_runner("one", [link(Broken, "b", hook)]), make_job("say one"), redis_client)
    assert (events[-1].text, events[-1].plugins) == ("one ", ())
    closed = [link(Broken, "b", hook, policy=CLOSED)]
    events = run(make_runner("two", closed), make_job("say one"), redis_client)
    assert isinstance(events[-1], ErrorEvent)
    assert events[-1].code is ErrorCode.PLUGIN_FAILED
    assert "oh" not in events[-1].message


class Unknown:
    """A registry whose database has said nothing yet."""

    def lease(self) -> Any:
        raise PluginsUnknownError


def test_a_request_ends_where_nobody_knows_what_it_must_pass(
    make_job: Job, redis_client: Any, engines: Any
) -> None:
    runner = JobRunner(redis_client, "w", "one", engines, Unknown())
    (error,) = run(runner, make_job("say one"), redis_client)
    runner.close(10)
    assert (error.code, error.usage.prompt_tokens) == (ErrorCode.BACKEND_UNAVAILABLE, 0)
    assert InferenceJob.objects.get().state == "failed"


def test_a_job_is_cancelled_while_its_text_is_held_back(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    runner, job = make_runner(plugins=[link(HoldsAll, "h", Hook.CHUNK)]), make_job("hang")
    thread = threading.Thread(target=runner.run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    request_cancel(job.job_id)
    thread.join(30)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    events = [event for _, event in events_of(redis_client, job.job_id)]
    assert texts_of(events) == []
    assert events[-1].code is ErrorCode.CANCELLED
    assert InferenceJob.objects.get().completion_tokens == 1


class KillsThenRefuses(Plain):
    """The engine is gone by the time that this plugin has refused."""

    def execute(self, input_data: ChunkContext) -> ChunkContext:
        self.config["kill"]()
        raise PluginRefusal("enough")


def test_an_engine_that_dies_after_a_refusal_begins_nothing_again(
    make_runner: Runner, make_job: Job, redis_client: Any, engines: Any
) -> None:
    def kill() -> None:
        engines.unload("smollm2-135m-instruct", drain_timeout=0.0, generation=1)

    links = [link(KillsThenRefuses, "k", Hook.CHUNK, kill=kill)]
    events = run(make_runner(plugins=links), make_job("hang"), redis_client)
    assert [type(event) for event in events] == [ErrorEvent]
    assert events[0].code is ErrorCode.PLUGIN_REFUSED


def test_turns_keep_their_calls_of_tools_when_a_turn_is_put_before_them(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    call = ToolCall("call00001", "weather", "{}")
    messages = (
        ChatMessage("user", "how is it"),
        ChatMessage("assistant", "", tool_calls=(call,)),
        ChatMessage("tool", "sunny", tool_call_id="call00001"),
        ChatMessage("user", "show messages"),
    )
    job = replace(make_job("x"), prompt=Prompt(messages=messages))
    links = [link(PutsFirst, "first", Hook.PROMPT)]
    done = run(make_runner(plugins=links), job, redis_client)[-1]
    expected = (ChatMessage("system", "be brief"), *messages)
    assert done.text == f"{expected!r} "


class PutsFirst(Plain):
    def execute(self, input_data: Any) -> Any:
        return replace(input_data, messages=(Message("system", "be brief"), *input_data.messages))


def test_token_ids_go_past_who_may_miss_them_only(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = replace(make_job("x"), prompt=Prompt(token_ids=(1, 2)))
    events = run(make_runner("one", [link(Broken, "b", Hook.PROMPT)]), job, redis_client)
    assert isinstance(events[-1], DoneEvent)
    job = replace(make_job("x"), prompt=Prompt(token_ids=(1, 2)))
    closed = [link(Upper, "guard", Hook.PROMPT, policy=CLOSED)]
    events = run(make_runner("two", closed), job, redis_client)
    assert events[-1].code is ErrorCode.PLUGIN_REFUSED
    assert "token ids" in events[-1].message
