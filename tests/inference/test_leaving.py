"""Callers who leave: wherever their job is just then, it ends, or has its grace."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import RequestFactory

from accounts.rights_watch import Holder
from inference.api import responses
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from inference.protocol import GenerationJob
from inference.readers import reading
from inference.stream import JobKeys
from inference.stream_hub import hub_of_this_loop
from inference.waiting import follow
from inference.worker.generation import JobRunner
from llamagpu.http.permissions import INFER
from tests.inference.worker.conftest import (  # noqa: F401
    engines,
    events_of,
    make_job,
    make_runner,
    wait_until,
)

MakeRunner = Callable[..., JobRunner]
MakeJob = Callable[..., GenerationJob]


def request() -> Any:
    made = RequestFactory().post("/api/infer")
    made.received_at = time.perf_counter()  # type: ignore[attr-defined]
    made.answer_headers = {}  # type: ignore[attr-defined]
    return made


async def collect(job: GenerationJob, holder: Holder) -> None:
    await responses.collect(request(), job.job_id, follow(job, holder))


async def stream(job: GenerationJob, holder: Holder) -> None:
    answer = responses.stream_events(request(), job.job_id, follow(job, holder))
    async for _ in answer.streaming_content:
        pass


def leave(call: Any, job: GenerationJob, when: Callable[[], Any], what: str) -> None:
    """Make the call and break it off, as the web server does when its client has gone."""
    holder = Holder(InferenceJob.objects.get(pk=job.job_id).owner_id, INFER)

    async def run() -> None:
        try:
            caller = asyncio.create_task(call(job, holder))
            await asyncio.to_thread(wait_until, when, what)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        finally:
            await hub_of_this_loop().close()

    asyncio.run(run())


def row_of(job: GenerationJob) -> InferenceJob:
    return InferenceJob.objects.get(pk=job.job_id)


@pytest.fixture(autouse=True)
def worker_lives(redis_client: Any) -> None:
    announce(redis_client, WorkerReport("w", "one", 1, "here", 0.0, 0, 8))


both_calls = pytest.mark.parametrize("call", [collect, stream])


@both_calls
def test_in_the_queue(call: Any, make_job: MakeJob, redis_client: Any) -> None:  # noqa: F811
    job = make_job("say hi", reader_grace=0)
    leave(call, job, when=lambda: True, what="")
    row = row_of(job)
    assert (row.state, row.error_message) == ("cancelled", "The caller left.")
    assert redis_client.exists(JobKeys(job.job_id).ended)


@both_calls
@pytest.mark.parametrize(
    ("text", "slug"), [("read", ""), ("hang", ""), ("say hi", "slow")], ids=str
)
def test_in_prefill_in_decode_and_while_the_model_loads(
    call: Any,
    text: str,
    slug: str,
    make_job: MakeJob,  # noqa: F811
    make_runner: MakeRunner,  # noqa: F811
    redis_client: Any,
) -> None:
    job = make_job(text, reader_grace=0)
    job = replace(job, model=slug or job.model)
    runner = make_runner()
    thread = threading.Thread(target=runner.run, args=[job])
    thread.start()

    def has_come_so_far() -> bool:
        if text == "hang":
            return bool(events_of(redis_client, job.job_id))
        run = runner._find(job.job_id)
        is_at_engine = run is not None and run.engine is not None and bool(run.usage.prompt_tokens)
        return is_at_engine or (bool(slug) and run is not None)

    leave(call, job, has_come_so_far, "it runs")
    thread.join(30)
    assert not thread.is_alive()
    row = wait_until(lambda: row_of(job).finished_at and row_of(job), "the end")
    assert (row.state, row.error_message) == ("cancelled", "The caller left.")


@both_calls
def test_a_resumable_job_goes_on(
    call: Any,
    make_job: MakeJob,  # noqa: F811
    redis_client: Any,
) -> None:
    job = make_job("say hi", reader_grace=30)
    redis_client.set(JobKeys(job.job_id).reader, "1")
    leave(call, job, when=lambda: True, what="")
    assert row_of(job).state == "queued"
    assert not redis_client.exists(JobKeys(job.job_id).cancel)
    assert not redis_client.exists(JobKeys(job.job_id).reader), "its grace begins at once"


def test_a_job_that_somebody_else_reads_goes_on(
    make_job: MakeJob,  # noqa: F811
    redis_client: Any,
) -> None:
    job = make_job("say hi", reader_grace=0)

    async def call(job: GenerationJob, holder: Holder) -> None:
        other = reading(job.job_id)
        other.__enter__()  # stays when this caller leaves
        await collect(job, holder)

    leave(call, job, when=lambda: True, what="")
    assert row_of(job).state == "queued"


def test_readers_who_stay_give_signs_of_life(
    make_job: MakeJob,  # noqa: F811
    redis_client: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("inference.readers.INTERVAL", 0.02)
    job = make_job("say hi", reader_grace=0)
    sign = JobKeys(job.job_id).reader
    leave(collect, job, when=lambda: redis_client.ttl(sign) > 0, what="a sign of life")
