"""Jobs on a remote model, with a real Valkey, a real database and a pool that holds the driver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from accounts.models import UsageDay
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent, GenerationJob, RestartEvent, TokenEvent
from inference.services.cancellation import request_cancel
from inference.states import ModelState
from inference.stream import JobKeys
from inference.worker.engine_pool import EnginePool, LoadOrder
from inference.worker.generation import JobRunner
from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import PluginCategory
from tests.fake_upstream import FakeUpstream, cut_after, hang_after, models, say, status
from tests.inference.worker.conftest import events_of, wait_until
from tests.inference.worker.remote.conftest import load_of
from tests.plugins_app.links import link
from tests.plugins_app.sample_plugins import Suffix

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
BEFORE, AFTER = PluginCategory.PRE_PROCESSOR, PluginCategory.OUTPUT_PROCESSOR


@pytest.fixture
def engines(upstream: FakeUpstream) -> Iterator[EnginePool]:
    pool = EnginePool(lambda slug: LoadOrder(load_of(upstream), 1))
    yield pool
    pool.close(1.0)


def run(runner: JobRunner, job: GenerationJob, client: Any) -> list[Any]:
    runner.run(job)
    wait_until(lambda: client.exists(JobKeys(job.job_id).ended), "the job ends")
    return [event for _, event in events_of(client, job.job_id)]


def test_a_job_is_streamed_settled_and_billed(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.will(say("one ", "two"))
    events = run(make_runner(), make_job("hi"), redis_client)
    assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == "one two"
    assert isinstance(events[-1], DoneEvent)
    row = InferenceJob.objects.get()
    assert (row.state, row.output, row.backend) == ("succeeded", "one two", "remote")
    assert (row.prompt_tokens, row.completion_tokens, row.cached_tokens) == (7, 2, 3)
    billed = UsageDay.objects.get()
    assert (billed.prompt_tokens, billed.completion_tokens) == (7, 2)


def test_an_estimate_is_marked_in_the_row(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.will(say("one", usage=None))
    run(make_runner(), make_job("hi"), redis_client)
    row = InferenceJob.objects.get()
    assert row.completion_tokens == 1
    assert row.answer == {"usage_is_estimated": True}


def test_plugins_see_prompt_and_answer(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    plugins = [link(Suffix, "p", BEFORE, suffix="-p"), link(Suffix, "q", AFTER, suffix="-q")]
    events = run(make_runner(plugins=plugins), make_job("hi"), redis_client)
    assert upstream.asked[0].body["messages"][0]["content"] == "hi-p"
    assert events[-1].text == "hello-q"


def test_an_answer_that_broke_off_begins_again(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.will(cut_after("lost "), say("well"))
    events = run(make_runner(), make_job("hi"), redis_client)
    restart = events.index(RestartEvent(2))
    assert [e.text for e in events[:restart] if isinstance(e, TokenEvent)] == ["lost "]
    assert events[-1].text == "well"
    assert InferenceJob.objects.get().attempt == 2


def test_one_that_always_breaks_off_fails_in_the_end(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.will(cut_after("lost "))
    events = run(make_runner(), make_job("hi"), redis_client)
    assert events[-1].code is ErrorCode.INFERENCE_FAILED
    assert "upstream broke off" in events[-1].message
    assert len(upstream.asked) == 3


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (status(400, {"error": {"message": "no"}}), ErrorCode.INVALID_INPUT),
        (status(500), ErrorCode.BACKEND_UNAVAILABLE),
        (status(401), ErrorCode.BACKEND_UNAVAILABLE),
    ],
)
def test_failures_end_the_job_and_bill_nothing(
    upstream: FakeUpstream,
    make_runner: Runner,
    make_job: Job,
    redis_client: Any,
    behaviour: Any,
    code: ErrorCode,
) -> None:
    upstream.will(behaviour)
    events = run(make_runner(), make_job("hi"), redis_client)
    assert isinstance(events[-1], ErrorEvent)
    assert events[-1].code is code
    row = InferenceJob.objects.get()
    assert (row.state, row.error_code, row.completion_tokens) == ("failed", code, 0)


def test_a_cancelled_job_hangs_up(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.will(hang_after("a"))
    job = make_job("hi")
    thread = threading.Thread(target=make_runner().run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    request_cancel(job.job_id)
    thread.join(30)
    assert upstream.hung_up.wait(30)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    assert InferenceJob.objects.get().state == "cancelled"


def test_an_upstream_that_is_not_there_is_said_to_be_so(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.listing = status(503)
    events = run(make_runner(), make_job("hi"), redis_client)
    assert events[-1].code is ErrorCode.BACKEND_UNAVAILABLE
    assert upstream.asked == []


def test_many_jobs_at_once_do_not_mix(
    upstream: FakeUpstream, make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    upstream.will(lambda handler: say(handler.asked.body["messages"][0]["content"])(handler))
    runner = make_runner()
    jobs = [make_job(f"number {i}") for i in range(16)]
    threads = [threading.Thread(target=runner.run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for index, job in enumerate(jobs):
        wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")  # noqa: B023
        assert InferenceJob.objects.get(pk=job.job_id).output == f"number {index}"


# ------------------------------------------------------------------ in the pool


def test_a_kept_model_comes_back_when_its_upstream_does(
    upstream: FakeUpstream, engines: EnginePool
) -> None:
    engines.keep("far")
    wait_until(lambda: engines.reports()[0].state is ModelState.READY, "it is ready")
    (report,) = engines.reports()
    assert (report.backend, report.pid, report.held_bytes, report.generation) == (
        "remote", None, 0, 1,
    )  # fmt: skip
    upstream.listing = status(503)
    wait_until(lambda: engines.reports()[0].state is ModelState.FAILED, "it is missed")
    wait_until(lambda: "503" in engines.reports()[0].error, "the reason is told")
    upstream.listing = models("org/Some-Model")
    wait_until(lambda: engines.reports()[0].state is ModelState.READY, "it is back")
    assert engines.reports()[0].restarts > 0


def test_unloading_waits_for_requests_and_gives_no_memory_back(
    upstream: FakeUpstream, engines: EnginePool
) -> None:
    driver = engines.get("far", 30)
    assert engines.unload("far", drain_timeout=5.0, generation=2)
    assert driver.wait_gone(30)
    wait_until(lambda: not engines.generations(), "the place is free")
    assert engines.freed()["far"].num_bytes == 0
    assert engines.get("far", 30) is not driver
