"""Batches in the database: let in as a whole, rung for with few messages, ended together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from accounts import rights_watch
from accounts.models import TokenReservation
from accounts.rights_watch import holder_of
from accounts.services.limits import set_limits
from inference import batch_waiting
from inference.admission import queue_length
from inference.batch_waiting import wait_for_batch
from inference.models import Batch, BatchItem, InferenceJob
from inference.presence import EngineReport, WorkerReport, announce
from inference.protocol import DoneEvent, FinishReason, Prompt, SamplingParams, Timings, Usage
from inference.services.batches import Entry, Work, cancel_batch, chunks_of, submit_batch
from inference.services.settlement import settle_jobs, settlement_of
from inference.services.submission import PromptTokens
from inference.states import ModelState
from inference.stream import JobKeys
from inference.worker.reaper import Reaper
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import INFER_BATCH
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller
from tests.inference.worker.conftest import wait_until

WORKER = WorkerReport("w", "1", 1, "here", 0.0, 0, 8)
Submit = Callable[..., Batch]


@pytest.fixture
def submit(
    transactional_db: None,
    django_db_serialized_rollback: None,
    redis_client: Any,
    member: Caller,
    model: Any,
) -> Submit:
    announce(redis_client, WORKER)

    def run(num_items: int = 3, *, num_bad: int = 0, timeout: float = 60) -> Batch:
        work = Work(Prompt(text="say hi"), SamplingParams(max_tokens=20), PromptTokens(5, 5))
        bad = AppError(ErrorCode.INVALID_INPUT, "bad")
        entries = [Entry(str(n), bad if n < num_bad else work) for n in range(num_items)]
        return submit_batch(
            owner=member.user,
            api_key=None,
            model=model,
            entries=entries,
            priority=-10,
            timeout=timeout,
            request_id="r",
            is_async=False,
            workers=[WORKER],
        )

    return run


def finish_all(batch: Batch) -> None:
    event = DoneEvent("hi", FinishReason.STOP, Usage(5, 2), Timings(0.0, 0.0, 0.0), "m", "cpu")
    ids = InferenceJob.objects.filter(batch_item__batch=batch).values_list("pk", flat=True)
    settle_jobs([settlement_of(str(job_id), 1, event) for job_id in ids])


def states(batch: Batch) -> list[str]:
    return list(batch.items.order_by("position").values_list("job__state", flat=True))


def test_five_hundred_inputs_take_few_messages_and_each_is_a_job(
    submit: Submit, redis_client: Any
) -> None:
    batch = submit(500)
    assert InferenceJob.objects.filter(batch_item__batch=batch, priority=-10).count() == 500
    assert TokenReservation.objects.count() == 500
    messages = [json.loads(message) for message in redis_client.lrange("lg:inference", 0, -1)]
    assert len(messages) == 4
    assert {message["headers"]["task"] for message in messages} == {"inference.generate_many"}


@pytest.mark.parametrize(
    ("num_jobs", "num_workers", "sizes"),
    [(1, 1, [1]), (40, 4, [32, 8]), (256, 1, [128, 128]), (400, 4, [100] * 4), (0, 1, [])],
)
def test_chunks_are_a_share_of_each_worker(
    num_jobs: int, num_workers: int, sizes: list[int]
) -> None:
    ids = [str(number) for number in range(num_jobs)]
    chunks = chunks_of(ids, [WORKER] * num_workers)
    assert [len(chunk) for chunk in chunks] == sizes
    assert [job_id for chunk in chunks for job_id in chunk] == ids


def worker_with(num_slots: int, num_running: int = 0) -> WorkerReport:
    engine = EngineReport("m", ModelState.READY, num_slots=num_slots, num_running=num_running)
    return replace(WORKER, engines=(engine,))


@pytest.mark.parametrize(
    ("workers", "size"),
    [
        ([worker_with(32)], 128),
        ([worker_with(32), worker_with(32)], 128),
        ([worker_with(32)] * 4, 75),
        ([worker_with(32), worker_with(8)], 60),
        ([worker_with(32), worker_with(32, num_running=24)], 38),
        ([worker_with(256)] * 8, 128),
    ],
)
def test_a_worker_that_is_small_or_busy_makes_the_messages_smaller(
    workers: list[WorkerReport], size: int
) -> None:
    chunks = chunks_of([str(number) for number in range(300)], workers, "m")
    assert len(chunks[0]) == size
    assert sum(map(len, chunks)) == 300


def test_what_is_wrong_with_an_input_is_kept_in_its_place(submit: Submit) -> None:
    batch = submit(3, num_bad=2)
    assert states(batch) == [None, None, "queued"]
    assert [item.error_code for item in batch.items.all()] == ["INVALID_INPUT"] * 2 + [""]


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"concurrent_jobs": 2}, ErrorCode.RATE_LIMIT_EXCEEDED),
        ({"tokens_per_minute": 74}, ErrorCode.RATE_LIMIT_EXCEEDED),
        ({"daily_tokens": 74}, ErrorCode.QUOTA_EXCEEDED),
    ],
)
def test_a_batch_that_does_not_fit_a_limit_leaves_nothing_behind(
    submit: Submit, limits: dict[str, int], code: ErrorCode
) -> None:
    set_limits(actor=None, subject="user:the-user", **limits)
    with pytest.raises(AppError) as raised:
        submit(3)
    assert raised.value.code is code
    assert not Batch.objects.exists()
    assert not InferenceJob.objects.exists()
    assert not TokenReservation.objects.exists()
    assert queue_length() == 0
    submit(2)  # nor with the counters of the minute


def test_a_batch_that_just_fits_is_let_in(submit: Submit) -> None:
    limits = {"concurrent_jobs": 3, "tokens_per_minute": 75, "daily_tokens": 75}
    set_limits(actor=None, subject="user:the-user", **limits)
    submit(3)
    assert InferenceJob.objects.count() == 3


def test_cancelling_ends_what_waits_and_marks_what_runs(submit: Submit, redis_client: Any) -> None:
    batch = submit(3)
    first = batch.items.get(position=0).job
    InferenceJob.objects.filter(pk=first.pk).update(state="running", started_at=batch.created_at)
    cancel_batch(batch=batch)
    assert states(batch) == ["running", "cancelled", "cancelled"]
    assert redis_client.exists(JobKeys(str(first.pk)).cancel)
    assert TokenReservation.objects.count() == 1


def test_cancelling_what_has_ended_changes_nothing(submit: Submit) -> None:
    batch = submit(2)
    finish_all(batch)
    cancel_batch(batch=batch)
    batch.refresh_from_db()
    assert states(batch) == ["succeeded", "succeeded"]
    assert batch.cancelled_at is None


def test_a_broker_that_is_away_settles_every_job(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inference.services import batches

    def away(job_ids: Any, queue: str, traceparent: str) -> None:
        raise batches.BrokerUnavailableError("away")

    monkeypatch.setattr(batches, "ring_many", away)
    with pytest.raises(AppError) as raised:
        submit(2)
    assert raised.value.code is ErrorCode.BACKEND_UNAVAILABLE
    assert set(InferenceJob.objects.values_list("state", flat=True)) == {"failed"}
    assert not TokenReservation.objects.exists()


def test_the_row_of_a_removed_job_is_kept(submit: Submit) -> None:
    batch = submit(1)
    InferenceJob.objects.all().delete()
    assert BatchItem.objects.get(batch=batch).job is None


# ------------------------------------------------------------------ waiting


async def waited(batch: Batch, member: Caller, deed: Callable[[], Any]) -> None:
    waiting = asyncio.create_task(wait_for_batch(batch, holder_of(member.user, None, INFER_BATCH)))
    try:
        await asyncio.sleep(0.1)
        assert not waiting.done()
        result = await sync_to_async(deed)()
        if result == "leave":
            waiting.cancel()
        await waiting
    finally:
        await sync_to_async(connections.close_all)()


def test_the_wait_ends_with_the_last_item(submit: Submit, member: Caller) -> None:
    batch = submit(3)
    asyncio.run(waited(batch, member, lambda: finish_all(batch)))
    assert states(batch) == ["succeeded"] * 3


def test_a_caller_that_leaves_ends_the_rest(submit: Submit, member: Caller) -> None:
    batch = submit(3)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(waited(batch, member, lambda: "leave"))
    wait_until(lambda: set(states(batch)) == {"cancelled"}, "the rest is cancelled")
    assert not TokenReservation.objects.exists()


def test_a_lost_right_ends_the_wait_and_the_rest(
    submit: Submit, member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rights_watch, "INTERVAL", 0.05)
    batch = submit(2)

    def deactivate() -> None:
        type(member.user).objects.filter(pk=member.user.pk).update(is_active=False)

    with pytest.raises(AppError) as raised:
        asyncio.run(waited(batch, member, deactivate))
    assert raised.value.code is ErrorCode.AUTHENTICATION_FAILED
    wait_until(lambda: set(states(batch)) == {"cancelled"}, "the rest is cancelled")


def test_without_any_worker_the_rest_is_settled_from_here(
    submit: Submit, member: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_waiting, "WORKER_GRACE", 0.0)
    monkeypatch.setattr(batch_waiting, "_WORKERS_INTERVAL", 0.2)
    batch = submit(2)
    asyncio.run(waited(batch, member, redis_client.flushall))
    codes = InferenceJob.objects.values_list("error_code", flat=True)
    assert set(codes) == {"NO_WORKER"}


def test_past_its_deadline_the_rest_is_settled_from_here(
    submit: Submit, member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_waiting, "DEADLINE_GRACE", 0.0)
    batch = submit(2, timeout=0.5)
    asyncio.run(waited(batch, member, lambda: None))
    assert set(states(batch)) == {"expired"}


def test_a_batch_of_a_dead_worker_begins_again_with_few_messages(
    submit: Submit, redis_client: Any
) -> None:
    batch = submit(200)
    redis_client.delete("lg:inference")
    long_ago = batch.created_at - timedelta(seconds=30)
    InferenceJob.objects.update(created_at=long_ago)
    for job_id in InferenceJob.objects.values_list("pk", flat=True):
        redis_client.set(JobKeys(str(job_id)).lease, "w|dead|1")
    assert Reaper(redis_client).sweep() == 200
    messages = [json.loads(message) for message in redis_client.lrange("lg:inference", 0, -1)]
    assert [message["headers"]["task"] for message in messages] == ["inference.generate_many"] * 2
    assert set(InferenceJob.objects.values_list("attempt", flat=True)) == {2}
