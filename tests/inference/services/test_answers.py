"""Answers go into the row and come back as they were, whatever a model has said."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.utils import timezone

from inference import wire
from inference.models import InferenceJob
from inference.protocol import (
    Choice,
    DoneEvent,
    ErrorEvent,
    FinishReason,
    Prompt,
    SamplingParams,
    Timings,
    TokenLogprob,
    Usage,
)
from inference.services.answers import done_event_of
from inference.services.settlement import settle_jobs, settlement_of
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller


@pytest.fixture
def row(member: Caller, model: Any) -> InferenceJob:
    job: InferenceJob = InferenceJob.objects.create(
        owner=member.user,
        model=model,
        request_id="r",
        prompt=wire.to_builtins(Prompt(text="hi")),
        params=wire.to_builtins(SamplingParams(n=2, logprobs=1)),
        deadline_at=timezone.now(),
    )
    return job


def settled(row: InferenceJob, done: DoneEvent) -> InferenceJob:
    assert settle_jobs([settlement_of(str(row.pk), 1, done)])
    return InferenceJob.objects.select_related("model").get()


def done_with(row: InferenceJob, **fields: Any) -> DoneEvent:
    values: dict[str, Any] = {
        "text": "one",
        "finish_reason": FinishReason.STOP,
        "usage": Usage(3, 2, 1),
        "timings": Timings(0.5, 0.25, 1.5, 0.125, 0.0625),
        "model": row.model.slug,
        "backend": "cpu",
    }
    return DoneEvent(**(values | fields))


def test_a_plain_answer_needs_no_more_than_its_text(row: InferenceJob) -> None:
    done = done_with(row)
    kept = settled(row, done)
    assert kept.answer is None
    assert kept.plugins == {"before": [], "after": []}
    assert done_event_of(kept) == done


def test_choices_log_probabilities_and_plugins_come_back(row: InferenceJob) -> None:
    token = TokenLogprob("one", -0.5, (("one", -0.5), ("two", -1.0)))
    done = done_with(
        row,
        plugins=("a", "b", "a"),
        plugins_after=("a",),
        logprobs=(token,),
        choices=(
            Choice(0, "one", FinishReason.STOP, (token,)),
            Choice(1, "two", FinishReason.LENGTH),
        ),
    )
    kept = settled(row, done)
    assert kept.plugins == {"before": ["a", "b"], "after": ["a"]}
    assert done_event_of(kept) == done


def test_what_no_database_holds_does_not_stop_a_settlement(row: InferenceJob) -> None:
    """NUL in text and numbers that are none: the job ends all the same."""
    token = TokenLogprob("\x00", -math.inf, (("\x00", math.nan),))
    done = done_with(
        row,
        text="a\x00b",
        logprobs=(token,),
        choices=(Choice(0, "a\x00b", FinishReason.STOP, (token,)),),
    )
    kept = settled(row, done)
    assert (kept.state, kept.output) == ("succeeded", "a\ufffdb")
    back = done_event_of(kept)
    assert back.choices[0].text == "a\ufffdb"
    assert back.logprobs is not None
    assert math.isfinite(back.logprobs[0].logprob)


def test_an_error_that_repeats_a_nul_ends_the_job_too(row: InferenceJob) -> None:
    error = ErrorEvent(ErrorCode.INVALID_INPUT, "invalid regex (\x00")
    assert settle_jobs([settlement_of(str(row.pk), 1, error)])
    assert InferenceJob.objects.get().error_message == "invalid regex (\ufffd"
