"""`echo` with `logprobs`: what evaluation harnesses read of a prompt."""

from __future__ import annotations

import json
from typing import Any

from inference.models import InferenceJob
from inference.openai_api.completion_shape import CompletionShape, Echo
from inference.openai_api.submission import Submitted
from inference.protocol import Choice, DoneEvent, FinishReason, Timings, TokenLogprob, Usage
from tests.conftest import MODEL, Caller
from tests.inference.openai_api.test_calls import no_waiting, params_of, prompt_of
from tests.inference.openai_api.test_embeddings import submitted

__all__ = ["no_waiting"]

SCORES = (None, TokenLogprob(" b", -1.5, ((" x", -0.5), (" b", -1.5))), TokenLogprob(" c", -2.0))


def done(text: str, logprobs: tuple[TokenLogprob, ...], n: int = 1) -> DoneEvent:
    choices = tuple(Choice(i, text, FinishReason.LENGTH, logprobs) for i in range(n))
    return DoneEvent(
        text, FinishReason.LENGTH, Usage(3, len(logprobs)), Timings(), "m", "cpu",
        logprobs=logprobs, prompt_logprobs=SCORES, choices=choices if n > 1 else (),
    )  # fmt: skip


def whole(event: DoneEvent, echo: Echo, n: int = 1, job: Submitted | None = None) -> Any:
    shape = CompletionShape("m", [echo], n, include_usage=False)
    return shape.body(job or submitted(), [event])["choices"]


def test_a_prompts_tokens_stand_before_the_answers() -> None:
    (choice,) = whole(done(" d", (TokenLogprob(" d", -0.1, ((" d", -0.1),)),)), Echo("a b c", "a"))
    assert choice["text"] == "a b c d"
    assert choice["logprobs"] == {
        "tokens": ["a", " b", " c", " d"],
        "token_logprobs": [None, -1.5, -2.0, -0.1],
        "top_logprobs": [None, {" b": -1.5, " x": -0.5}, {" c": -2.0}, {" d": -0.1}],
        "text_offset": [0, 1, 3, 5],
    }


def test_a_prompt_alone_has_its_own_tokens() -> None:
    (choice,) = whole(done("", ()), Echo("a b c", "a"))
    assert (choice["text"], choice["finish_reason"]) == ("a b c", "length")
    assert choice["logprobs"]["token_logprobs"] == [None, -1.5, -2.0]


def test_a_mark_that_begins_every_text_takes_no_room_in_it() -> None:
    (choice,) = whole(done("", ()), Echo(" b c", "<s>"))
    assert choice["logprobs"]["tokens"] == ["<s>", " b", " c"]
    assert choice["logprobs"]["text_offset"] == [0, 0, 2]


def test_a_call_for_scores_asks_the_engine_for_them(member: Caller, model: Any) -> None:
    fields = {"prompt": ["one two", "three"], "echo": True, "logprobs": 1, "max_tokens": 0}
    response = member.post("/v1/completions", json.dumps({"model": MODEL, **fields}))
    assert response.status_code == 200
    for job in InferenceJob.objects.all():
        params = params_of(job)
        assert (params.max_tokens, params.logprobs, params.prompt_logprobs) == (0, 1, 1)
        assert prompt_of(job).is_raw


def test_without_echo_nothing_is_asked_of_the_prompt(member: Caller, model: Any) -> None:
    fields = {"prompt": "one", "logprobs": 1, "max_tokens": 1}
    member.post("/v1/completions", json.dumps({"model": MODEL, **fields}))
    assert params_of(InferenceJob.objects.get()).prompt_logprobs is None
