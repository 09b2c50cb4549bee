"""What a call under /v1 becomes: the rows of its jobs, as the engine will read them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse

from accounts.models import TokenReservation
from accounts.services.limits import set_limits
from inference import wire
from inference.models import InferenceJob
from inference.openai_api import answers, calls
from inference.presence import WorkerReport, announce
from inference.prompts import count_tokens
from inference.protocol import ChatMessage, GrammarKind, Prompt, SamplingParams, ToolCall
from tests.conftest import MODEL, Caller

HI = [{"role": "user", "content": "hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(autouse=True)
def no_waiting(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A live worker's word, and no waiting for what it would never say."""
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))

    async def give(request: Any, submitted: Any, shape: Any) -> HttpResponse:
        return HttpResponse("{}")

    monkeypatch.setattr(answers, "collect", give)
    monkeypatch.setattr(answers, "stream", give)


def ask(caller: Caller, path: str, **fields: Any) -> list[InferenceJob]:
    response = caller.post(f"/v1/{path}", json.dumps({"model": MODEL, **fields}))
    assert response.status_code == 200, response.content
    return list(InferenceJob.objects.order_by("created_at"))


def prompt_of(job: InferenceJob) -> Prompt:
    return wire.from_builtins(Prompt, job.prompt)


def params_of(job: InferenceJob) -> SamplingParams:
    return wire.from_builtins(SamplingParams, job.params)


def test_a_chat_becomes_one_job(member: Caller, model: Any) -> None:
    (job,) = ask(
        member, "chat/completions", messages=[{"role": "developer", "content": "x"}, *HI],
        max_completion_tokens=7, n=3, seed=-5, stop="a", temperature=None, top_k=4,
        logit_bias={"5": 1}, logprobs=True, response_format={"type": "json_object"},
        stream=True, user="u1", min_tokens=2, ignore_eos=True,
    )  # fmt: skip
    assert prompt_of(job).messages == (ChatMessage("system", "x"), ChatMessage("user", "hi"))
    params = params_of(job)
    assert (params.max_tokens, params.n, params.seed, params.stop) == (7, 3, -5, ("a",))
    assert (params.temperature, params.top_k, params.logit_bias) == (1.0, 4, ((5, 1.0),))
    assert (params.logprobs, params.min_tokens, params.ignore_eos) == (0, 2, True)
    assert params.grammar is not None
    assert params.grammar.kind is GrammarKind.JSON_OBJECT
    assert (job.is_streamed, job.end_user, job.owner) == (True, "u1", member.user)


def test_without_a_number_an_answer_may_take_what_is_left(member: Caller, model: Any) -> None:
    ask(member, "chat/completions", messages=HI)
    long = "many words " * 2300
    (short, near) = ask(member, "chat/completions", messages=[{"role": "user", "content": long}])
    counted = count_tokens(model, prompt_of(near))
    assert counted is not None
    assert params_of(near).max_tokens == min(8192 - counted, params_of(short).max_tokens)
    assert params_of(near).max_tokens < 4096


def test_tokens_of_all_answers_are_set_aside(member: Caller, model: Any) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", daily_tokens=100_000)
    (job,) = ask(member, "chat/completions", messages=HI, max_tokens=10, n=4)
    assert TokenReservation.objects.get().tokens == job.prompt_tokens + 40


def test_a_forced_function_becomes_a_grammar_and_is_shown(member: Caller, model: Any) -> None:
    (job,) = ask(member, "chat/completions", messages=HI, tools=[WEATHER], tool_choice="required")
    grammar = params_of(job).grammar
    assert grammar is not None
    assert json.loads(grammar.text) == {"type": "object"}
    assert prompt_of(job).tools == (WEATHER,)


def test_a_model_whose_template_knows_tools_may_choose(
    member: Caller, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "_knows_tools", lambda model: True)
    (job,) = ask(member, "chat/completions", messages=HI, tools=[WEATHER])
    assert params_of(job).grammar is None
    assert prompt_of(job).tools == (WEATHER,)


def test_functions_that_must_not_be_called_are_not_shown(member: Caller, model: Any) -> None:
    history = [
        *HI,
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": "dry"},
    ]  # fmt: skip
    (job,) = ask(member, "chat/completions", messages=history, tools=[WEATHER], tool_choice="none")
    prompt = prompt_of(job)
    assert prompt.tools == ()
    assert prompt.messages is not None
    assert prompt.messages[1].tool_calls == (ToolCall("a", "weather", "{}"),)
    assert prompt.messages[2].tool_call_id == "a"


def test_every_prompt_of_a_completion_is_a_job(member: Caller, model: Any) -> None:
    jobs = ask(member, "completions", prompt=["one", "two"], max_tokens=3, logprobs=2)
    assert [prompt_of(job) for job in jobs] == [
        Prompt(text="one", is_raw=True),
        Prompt(text="two", is_raw=True),
    ]
    assert {params_of(job).logprobs for job in jobs} == {2}
    assert len({job.request_id for job in jobs}) == 1
    InferenceJob.objects.all().delete()
    (by_ids,) = ask(member, "completions", prompt=[5, 6, 7], max_tokens=3)
    assert prompt_of(by_ids).token_ids == (5, 6, 7)


def test_a_call_whose_jobs_do_not_all_fit_leaves_none(member: Caller, model: Any) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", concurrent_jobs=1)
    body = {"model": MODEL, "prompt": ["one", "two"], "max_tokens": 3}
    response = member.post("/v1/completions", json.dumps(body))
    assert response.status_code == 429
    assert json.loads(response.content)["error"]["type"] == "rate_limit_error"
    assert not InferenceJob.objects.exists()


def test_a_job_tells_which_parameters_its_caller_gave(member: Caller, model: Any) -> None:
    jobs = ask(
        member, "chat/completions", messages=HI, max_completion_tokens=7, temperature=None, top_p=1,
        response_format={"type": "json_object"},
    )  # fmt: skip
    assert params_of(jobs[-1]).given == ("grammar", "max_tokens", "top_p")
    jobs = ask(member, "completions", prompt="hi", seed=5)
    assert params_of(jobs[-1]).given == ("seed",)
    jobs = ask(member, "responses", input="hi", max_output_tokens=5, temperature=0)
    assert params_of(jobs[-1]).given == ("max_tokens", "temperature")
