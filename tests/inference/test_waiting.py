"""A caller whose right is gone while an answer is on its way."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import RequestFactory

from accounts import rights_watch
from accounts.models import ApiKey, Role, User
from accounts.rights_watch import Holder, holder_of
from accounts.services.api_keys import revoke_api_key
from inference import waiting
from inference.api.responses import collect
from inference.presence import WorkerReport, announce
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    Prompt,
    SamplingParams,
    StreamEvent,
    Timings,
    TokenEvent,
    Usage,
)
from inference.readers import reading
from inference.stream import JobKeys, append
from inference.stream_hub import hub_of_this_loop
from llamagpu.http.permissions import INFER
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import make_caller


@pytest.fixture
async def job(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GenerationJob]:
    """A job in the hands of a worker that says nothing unless a test speaks for it."""
    monkeypatch.setattr(rights_watch, "INTERVAL", 0.05)
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 1, 8))
    now = time.time()
    yield GenerationJob(
        job_id=str(uuid.uuid4()),
        attempt=1,
        request_id="r",
        model="m",
        prompt=Prompt(text="hi"),
        params=SamplingParams(),
        created_unix=now,
        deadline_unix=now + 60,
        tenant="1",
        priority=0,
    )
    await hub_of_this_loop().close()
    await sync_to_async(connections.close_all)()  # those of the thread behind `sync_to_async`


def say(redis_client: Any, job: GenerationJob, number: int, event: StreamEvent) -> None:
    pipeline = redis_client.pipeline()
    append(pipeline, JobKeys(job.job_id), f"1-{number}", event, 60)
    pipeline.execute()


def open_with_key() -> Holder:
    caller = make_caller("user")
    return holder_of(caller.user, ApiKey.objects.get(), INFER)


def open_with_session() -> Holder:
    return holder_of(make_caller("user").user, None, INFER)


def revoke() -> None:
    revoke_api_key(actor=None, key=ApiKey.objects.get())


def demote() -> None:
    User.objects.update(role=Role.objects.get(slug="guest"))


@pytest.mark.parametrize(
    ("begin", "deed", "code"),
    [
        (open_with_key, revoke, ErrorCode.AUTHENTICATION_FAILED),
        (open_with_session, demote, ErrorCode.PERMISSION_DENIED),
    ],
)
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_a_lost_right_ends_the_stream_and_the_job(
    redis_client: Any, job: GenerationJob, begin: Any, deed: Any, code: ErrorCode
) -> None:
    holder = await sync_to_async(begin)()
    say(redis_client, job, 1, TokenEvent(text="a", position=0))
    events = []
    async for item in waiting.follow(job, holder):
        if item is not None:
            events.append(item[1])
        if len(events) == 1:
            await sync_to_async(deed)()
    assert isinstance(events[0], TokenEvent)
    assert isinstance(events[-1], ErrorEvent)
    assert events[-1].code is code
    assert len(events) == 2
    assert redis_client.exists(JobKeys(job.job_id).cancel)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_an_answer_that_comes_after_the_loss_is_not_given(
    redis_client: Any, job: GenerationJob
) -> None:
    holder = await sync_to_async(open_with_key)()
    await sync_to_async(revoke)()

    async def finish_when_cancelled() -> None:
        while not redis_client.exists(JobKeys(job.job_id).cancel):
            await asyncio.sleep(0.01)
        say(redis_client, job, 1, done())

    worker = asyncio.create_task(finish_when_cancelled())
    events = [item[1] async for item in waiting.follow(job, holder) if item is not None]
    await worker
    assert [type(event) for event in events] == [ErrorEvent]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_whose_right_holds_gets_the_answer(redis_client: Any, job: GenerationJob) -> None:
    holder = await sync_to_async(open_with_key)()
    say(redis_client, job, 1, done())
    events = [item[1] async for item in waiting.follow(job, holder) if item is not None]
    assert [type(event) for event in events] == [DoneEvent]
    assert not redis_client.exists(JobKeys(job.job_id).cancel)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
async def test_an_answer_in_one_piece_leaves_no_reader_behind(
    redis_client: Any, job: GenerationJob, rf: RequestFactory
) -> None:
    holder = await sync_to_async(open_with_key)()
    request: Any = rf.post("/api/infer")
    request.request_id, request.received_at = "req_1", time.perf_counter()
    say(redis_client, job, 1, done())
    with reading(job.job_id) as ours:
        items = waiting.follow(
            job, holder
        )  # held on to, as REST framework's objects hold each other
        response = await collect(request, job.job_id, items)
        assert response.status_code == 200
        assert ours.is_alone


def done() -> DoneEvent:
    return DoneEvent(
        text="a",
        finish_reason=FinishReason.STOP,
        usage=Usage(),
        timings=Timings(),
        model="m",
        backend="cpu",
    )
