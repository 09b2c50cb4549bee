"""What happens to jobs whose worker or message is gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from inference.admission import queue_length
from inference.lease import Holder
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    Timings,
    Usage,
)
from inference.stream import JobKeys, append
from inference.worker import reader_watch
from inference.worker.reaper import Reaper
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.worker.conftest import events_of, wait_until

Job = Callable[..., GenerationJob]
LONG_AGO = timedelta(seconds=30)


@pytest.fixture
def reaper(redis_client: Any) -> Reaper:
    announce(redis_client, WorkerReport("w", "new", 1, "here", 0.0, 0, 8))
    return Reaper(redis_client)


def queued_attempts(client: Any) -> list[int]:
    messages = [json.loads(message) for message in client.lrange("lg:inference", 0, -1)]
    return [int(message["headers"]["id"].rsplit(".", 1)[1]) for message in messages]


def hold(client: Any, job: GenerationJob, instance: str) -> None:
    client.set(JobKeys(job.job_id).lease, f"w|{instance}|{job.attempt}")


def test_a_job_of_a_living_worker_is_left_alone(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    hold(redis_client, job, "new")
    assert reaper.sweep() == 0
    assert queue_length() == 0


def test_a_job_of_a_dead_worker_begins_again(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    hold(redis_client, job, "old")
    assert reaper.sweep() == 1
    assert queued_attempts(redis_client) == [2]
    assert InferenceJob.objects.get().attempt == 2
    assert redis_client.exists(JobKeys(job.job_id).lease) == 0


def test_a_running_job_whose_lease_ran_out_begins_again(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    assert reaper.sweep() == 1
    assert queued_attempts(redis_client) == [2]


def test_a_job_that_killed_every_worker_is_given_up(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", state="running", attempt=3, created_at=timezone.now() - LONG_AGO)
    hold(redis_client, job, "old")
    assert reaper.sweep() == 1
    assert queue_length() == 0
    assert InferenceJob.objects.get().state == "failed"
    ((entry_id, event),) = events_of(redis_client, job.job_id)
    assert entry_id == "4-1"
    assert isinstance(event, ErrorEvent)


def test_a_lost_message_is_rung_for_again(reaper: Reaper, make_job: Job, redis_client: Any) -> None:
    make_job("x", created_at=timezone.now() - LONG_AGO)
    assert reaper.sweep() == 1
    assert queued_attempts(redis_client) == [1]
    assert reaper.sweep() == 0, "the message is there now"


def test_a_queued_job_whose_message_waits_is_left_alone(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    redis_client.rpush("lg:inference", "somebody else's message")
    make_job("x", created_at=timezone.now() - LONG_AGO)
    assert reaper.sweep() == 0


def test_a_young_job_is_left_alone(reaper: Reaper, make_job: Job) -> None:
    make_job("x", state="running")
    assert reaper.sweep() == 0


def test_a_job_long_past_its_deadline_is_ended(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", timeout=-60, created_at=timezone.now() - LONG_AGO)
    assert reaper.sweep() == 1
    assert InferenceJob.objects.get().state == "expired"
    assert events_of(redis_client, job.job_id)[-1][1] == ErrorEvent(
        ErrorCode.DEADLINE_EXCEEDED, "The job did not end within its time limit."
    )


def test_a_settled_job_is_not_looked_at(reaper: Reaper, make_job: Job) -> None:
    make_job("x", state="succeeded", created_at=timezone.now() - LONG_AGO)
    assert reaper.sweep() == 0


def test_a_job_whose_end_never_reached_the_database_is_settled_from_its_stream(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    done = DoneEvent("answer", FinishReason.STOP, Usage(3, 4), Timings(0.1, 0.2, 0.3), "m", "cpu")
    append(redis_client, JobKeys(job.job_id), "1-1", done, 60)
    assert reaper.sweep() == 1
    assert queue_length() == 0, "it is not run again"
    row = InferenceJob.objects.get()
    assert (row.state, row.output, row.attempt) == ("succeeded", "answer", 1)
    assert (row.prompt_tokens, row.completion_tokens, row.inference_time) == (3, 4, 0.3)


def test_a_job_whose_end_the_database_refuses_is_ended_and_those_after_it_are_tended(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    odd = make_job("x", state="running", created_at=timezone.now() - 2 * LONG_AGO)
    after = make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    usage, timings = Usage(2**63), Timings(0.1, 0.2, 0.3)  # more than a column holds
    done = DoneEvent("answer", FinishReason.STOP, usage, timings, "m", "cpu")
    append(redis_client, JobKeys(odd.job_id), "1-1", done, 60)
    assert reaper.sweep() == 2
    row = InferenceJob.objects.get(pk=odd.job_id)
    assert (row.state, row.error_code, row.prompt_tokens) == ("failed", "INTERNAL_ERROR", 0)
    assert InferenceJob.objects.get(pk=after.job_id).attempt == 2


def test_a_cancelled_job_of_a_dead_worker_does_not_begin_again(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    hold(redis_client, job, "old")
    redis_client.set(JobKeys(job.job_id).cancel, "The caller left.")
    assert reaper.sweep() == 1
    assert queue_length() == 0
    row = InferenceJob.objects.get()
    assert (row.state, row.error_message) == ("cancelled", "The caller left.")
    assert redis_client.exists(JobKeys(job.job_id).lease) == 0


def test_a_job_that_is_just_being_cancelled_is_left_alone(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    job = make_job("x", created_at=timezone.now() - LONG_AGO)
    redis_client.set(JobKeys(job.job_id).lease, Holder.canceller().encode())
    assert reaper.sweep() == 0
    assert queue_length() == 0


def test_a_dead_workers_job_that_needs_a_reader_begins_again_once_one_is_seen(
    reaper: Reaper, make_job: Job, redis_client: Any
) -> None:
    """The whole stack was down: whether its caller is still there shows only after a while."""
    job = make_job("x", state="running", reader_grace=30, created_at=timezone.now() - LONG_AGO)
    hold(redis_client, job, "old")
    assert reaper.sweep() == 0
    redis_client.set(JobKeys(job.job_id).reader, "1")
    assert reaper.sweep() == 1
    assert queued_attempts(redis_client) == [2]


@pytest.mark.parametrize("state", ["queued", "running"])
def test_a_job_whose_readers_stay_away_is_ended(
    reaper: Reaper,
    make_job: Job,
    redis_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
) -> None:
    monkeypatch.setattr(reader_watch, "READER_LIFETIME", 0.2)
    job = make_job("x", state=state, reader_grace=0.2, created_at=timezone.now() - LONG_AGO)
    redis_client.rpush("lg:inference", "its message")
    assert reaper.sweep() == 0
    wait_until(reaper.sweep, "the end")
    row = InferenceJob.objects.get()
    assert (row.state, row.attempt, row.error_message) == ("cancelled", 1, reader_watch.FORSAKEN)
    assert events_of(redis_client, job.job_id)[-1][1].code is ErrorCode.CANCELLED


def test_a_job_that_needs_no_reader_begins_again_without_one(
    reaper: Reaper, make_job: Job, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_watch, "READER_LIFETIME", 0.0)
    make_job("x", state="running", created_at=timezone.now() - LONG_AGO)
    assert reaper.sweep() == 1
    assert queued_attempts(redis_client) == [2]
