"""Vectors stay with their row for a day: for batches, and for callers who come back."""

from __future__ import annotations

import struct
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from inference import wire
from inference.models import InferenceJob
from inference.protocol import DoneEvent, FinishReason, Prompt, SamplingParams, Timings, Usage
from inference.services.answers import done_event_of, forget_vectors
from inference.services.settlement import settle_jobs, settlement_of
from inference.states import JobKind
from inference.stream import KEEP_AFTER_END, KEEP_VECTORS, JobKeys, append
from tests.conftest import Caller


@pytest.fixture
def row(member: Caller, model: Any) -> InferenceJob:
    job: InferenceJob = InferenceJob.objects.create(
        owner=member.user,
        model=model,
        request_id="r",
        kind=JobKind.EMBED,
        prompt=wire.to_builtins(Prompt(inputs=(Prompt(text="hi"), Prompt(token_ids=(1, 2))))),
        params=wire.to_builtins(SamplingParams(max_tokens=0)),
        deadline_at=timezone.now(),
    )
    return job


def done(*vectors: bytes) -> DoneEvent:
    return DoneEvent("", FinishReason.STOP, Usage(3), Timings(), "m", "cpu", embeddings=vectors)


def settled(row: InferenceJob, event: DoneEvent) -> InferenceJob:
    assert settle_jobs([settlement_of(str(row.pk), 1, event)])
    return InferenceJob.objects.select_related("model").get()


VECTORS = (struct.pack("<2f", 0.6, -0.8), struct.pack("<2f", 1.0, 0.0))


def test_vectors_come_back_as_they_were(row: InferenceJob) -> None:
    assert done_event_of(settled(row, done(*VECTORS))).embeddings == VECTORS


def test_more_than_a_row_shall_hold_is_not_kept(row: InferenceJob) -> None:
    kept = settled(row, done(*[bytes(4096)] * 257))
    assert kept.answer is None
    assert done_event_of(kept).embeddings == ()


def test_they_are_forgotten_a_day_later(row: InferenceJob) -> None:
    settled(row, done(*VECTORS))
    assert forget_vectors() == 0
    InferenceJob.objects.update(finished_at=timezone.now() - timedelta(hours=25))
    assert forget_vectors() == 1
    assert forget_vectors() == 0
    assert InferenceJob.objects.get().answer is None


def test_other_answers_stay(row: InferenceJob) -> None:
    settled(row, done(*VECTORS))
    InferenceJob.objects.update(
        kind=JobKind.GENERATE, finished_at=timezone.now() - timedelta(days=9)
    )
    assert forget_vectors() == 0


def test_their_stream_is_read_soon_or_never(redis_client: Any) -> None:
    for event, longest in ((done(*VECTORS), KEEP_VECTORS), (done(), KEEP_AFTER_END)):
        keys = JobKeys("j")
        redis_client.delete(keys.events)
        append(redis_client, keys, "1-1", event, 5000)
        assert longest - 5 <= redis_client.ttl(keys.events) <= longest
