"""Stages 4 to 6 with a real Valkey, a real database and an engine process that does as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference.models import InferenceJob
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    RestartEvent,
    TokenEvent,
)
from inference.services.cancellation import request_cancel
from inference.stream import JobKeys
from inference.worker.engine_pool import EnginePool
from inference.worker.generation import JobRunner
from llamagpu.lib.error_codes import ErrorCode
from plugins_app.base import PluginCategory
from tests.inference.worker.conftest import events_of, wait_until
from tests.plugins_app.links import link
from tests.plugins_app.sample_plugins import Refuses, Suffix

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
BEFORE, AFTER = PluginCategory.PRE_PROCESSOR, PluginCategory.OUTPUT_PROCESSOR


def run(runner: JobRunner, job: GenerationJob, client: Any) -> list[Any]:
    runner.run(job)
    wait_until(lambda: client.exists(JobKeys(job.job_id).ended), "the job ends")
    return [event for _, event in events_of(client, job.job_id)]


def test_a_job_is_streamed_then_settled(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one two three")
    events = run(make_runner(), job, redis_client)
    assert "".join(e.text for e in events if isinstance(e, TokenEvent)) == "one two three "
    assert isinstance(events[-1], DoneEvent)
    assert events[-1].text == "one two three "
    row = InferenceJob.objects.get()
    assert (row.state, row.finish_reason, row.output) == ("succeeded", "stop", "one two three ")
    assert (row.prompt_tokens, row.completion_tokens, row.worker) == (2, 3, "w")
    assert row.inference_time == 0.02
    assert row.started_at is not None
    assert row.finished_at >= row.started_at


def test_entry_ids_count_up_within_the_attempt(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one two three")
    run(make_runner(), job, redis_client)
    ids = [entry_id for entry_id, _ in events_of(redis_client, job.job_id)]
    assert ids == [f"1-{number}" for number in range(1, len(ids) + 1)]


def test_the_row_is_settled_before_the_reader_hears_of_it(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say hi")
    seen: list[str] = []

    def watch() -> None:
        wait_until(
            lambda: any(isinstance(e, DoneEvent) for _, e in events_of(redis_client, job.job_id)),
            "done",
        )

    thread = threading.Thread(target=watch)
    thread.start()
    make_runner().run(job)
    thread.join()
    seen.append(InferenceJob.objects.get().state)
    assert seen == ["succeeded"]


def test_a_message_that_comes_twice_runs_once(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    runner, job = make_runner(), make_job("say once")
    first = run(runner, job, redis_client)
    runner.run(job)
    assert [event for _, event in events_of(redis_client, job.job_id)] == first


def test_a_job_that_runs_elsewhere_is_left_alone(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say hi")
    redis_client.set(JobKeys(job.job_id).lease, b"other|x|1")
    make_runner().run(job)
    assert events_of(redis_client, job.job_id) == []
    assert InferenceJob.objects.get().state == "queued"


def test_an_engine_that_dies_once_costs_a_restart_and_no_answer(
    make_runner: Runner, make_job: Job, redis_client: Any, tmp_path: Path
) -> None:
    job = make_job(f"die once {tmp_path / 'mark'}")
    events = run(make_runner(), job, redis_client)
    restart = events.index(RestartEvent(2))
    assert [e.text for e in events[restart + 1 :] if isinstance(e, TokenEvent)] == ["alive "]
    assert events[-1].text == "alive "
    row = InferenceJob.objects.get()
    assert (row.state, row.attempt) == ("succeeded", 2)


def test_a_request_that_kills_every_engine_fails(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    events = run(make_runner(), make_job("die"), redis_client)
    assert events[-1] == ErrorEvent(
        ErrorCode.INFERENCE_FAILED, "The engine died each time it worked on this request."
    )
    row = InferenceJob.objects.get()
    assert (row.state, row.error_code) == ("failed", "INFERENCE_FAILED")


def test_the_next_request_works_after_a_death(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    runner = make_runner()
    run(runner, make_job("die"), redis_client)
    assert run(runner, make_job("say well"), redis_client)[-1].text == "well "


def test_a_request_that_kills_engines_takes_no_other_one_down(
    make_runner: Runner, make_job: Job, redis_client: Any, tmp_path: Path
) -> None:
    """The others run until the engine has died three times, or is their last one."""
    runner, deaths = make_runner(), tmp_path / "deaths"
    jobs = [make_job(f"{verb} {deaths}") for verb in ("third", "die count", "third")]
    threads = [threading.Thread(target=runner.run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for job in jobs:
        wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")  # noqa: B023
    states = [InferenceJob.objects.get(pk=job.job_id).state for job in jobs]
    assert states == ["succeeded", "failed", "succeeded"]


def test_a_failure_of_the_engine_reaches_the_caller(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    events = run(make_runner(), make_job("fail"), redis_client)
    assert events == [ErrorEvent(ErrorCode.INFERENCE_FAILED, "as asked")]


def test_a_model_that_does_not_load_fails_the_job_with_the_reason(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = replace(make_job("say hi"), model="broken")
    events = run(make_runner(), job, redis_client)
    assert events[-1].code is ErrorCode.MODEL_LOAD_FAILED
    assert "truncated" in events[-1].message


def test_a_running_job_is_cancelled(make_runner: Runner, make_job: Job, redis_client: Any) -> None:
    runner, job = make_runner(), make_job("hang")
    thread = threading.Thread(target=runner.run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    request_cancel(job.job_id)
    thread.join(30)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    assert events_of(redis_client, job.job_id)[-1][1].code is ErrorCode.CANCELLED
    assert InferenceJob.objects.get().state == "cancelled"
    wait_until(lambda: not redis_client.exists(JobKeys(job.job_id).lease), "the lease's end")


def test_a_job_past_its_deadline_is_not_begun(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    events = run(make_runner(), make_job("say late", timeout=-1), redis_client)
    assert events[-1].code is ErrorCode.DEADLINE_EXCEEDED
    assert InferenceJob.objects.get().state == "expired"


def test_an_attempt_that_was_given_up_cannot_write(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    """Another worker has begun attempt 2 while this one still believes in attempt 1."""
    runner, job = make_runner(), make_job("hang")
    thread = threading.Thread(target=runner.run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    redis_client.xadd(JobKeys(job.job_id).events, {"e": b"x"}, id="2-1")
    redis_client.set(JobKeys(job.job_id).lease, b"other|x|2")
    thread.join(30)
    assert not thread.is_alive()
    ids = [e[0] for e in redis_client.xrange(JobKeys(job.job_id).events)]
    assert ids[-1] == b"2-1"
    assert redis_client.get(JobKeys(job.job_id).lease) == b"other|x|2"
    assert InferenceJob.objects.get().state == "running"


def test_plugins_act_before_and_after(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    plugins = [link(Suffix, "p", BEFORE, suffix="-p"), link(Suffix, "q", AFTER, suffix="-q")]
    events = run(make_runner(plugins=plugins), make_job("say x"), redis_client)
    assert events[-1].text == "x-p -q"
    assert events[-1].plugins == ("p", "q")


def test_a_refusing_plugin_ends_the_job(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    plugins = [link(Refuses, "r", BEFORE)]
    events = run(make_runner(plugins=plugins), make_job("say x"), redis_client)
    assert events == [
        ErrorEvent(
            ErrorCode.PLUGIN_REFUSED, "The plugin 'r' refused this request: no such words here"
        )
    ]


def test_a_draining_worker_leaves_its_job_to_the_next_one(
    make_runner: Runner, make_job: Job, redis_client: Any, engines: Any
) -> None:
    runner, job = make_runner(), make_job("hang")
    thread = threading.Thread(target=runner.run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    runner.drain()
    engines.close(0.1)
    thread.join(30)
    assert not thread.is_alive()
    assert redis_client.exists(JobKeys(job.job_id).lease) == 0
    assert InferenceJob.objects.get().state == "running"


def test_many_jobs_at_once_do_not_mix(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    runner = make_runner()
    jobs = [make_job(f"say {i} {i + 1} {i + 2}") for i in range(24)]
    threads = [threading.Thread(target=runner.run, args=[job]) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for index, job in enumerate(jobs):
        wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")  # noqa: B023
        events = events_of(redis_client, job.job_id)
        text = "".join(e.text for _, e in events if isinstance(e, TokenEvent))
        assert text == f"{index} {index + 1} {index + 2} "
        assert events[-1][1].finish_reason is FinishReason.STOP


def test_a_job_that_an_unloading_cuts_off_begins_again(
    make_runner: Runner, make_job: Job, redis_client: Any, engines: EnginePool
) -> None:
    job = make_job("third")
    thread = threading.Thread(target=make_runner().run, args=[job])
    thread.start()
    ended: set[int | None] = set()  # what an engine reported last stands until it is gone
    for attempt in (1, 2):
        wait_until(
            lambda before=frozenset(ended): _busy_pids(engines, job.model) - before,
            f"attempt {attempt} runs",
        )
        ended |= _busy_pids(engines, job.model)
        engines.unload(job.model, drain_timeout=5.0, generation=attempt)
        wait_until(
            lambda number=attempt: (
                RestartEvent(number + 1)
                in [event for _, event in events_of(redis_client, job.job_id)]
            ),
            "it begins again",
        )
    thread.join(30)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the job ends")
    assert events_of(redis_client, job.job_id)[-1][1].text == "alive "
    assert InferenceJob.objects.get().state == "succeeded"


def _busy_pids(engines: EnginePool, slug: str) -> set[int | None]:
    engines.ask_stats()
    reports = engines.reports()
    return {engine.pid for engine in reports if engine.model == slug and engine.num_running}


def test_several_answers_are_streamed_and_ended_together(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one two")
    job = replace(job, params=replace(job.params, n=3))
    events = run(make_runner(), job, redis_client)
    for index in range(3):
        tokens = [e for e in events if isinstance(e, TokenEvent) and e.index == index]
        assert "".join(token.text for token in tokens) == "one two "
        assert tokens[-1].position == 1
    done = events[-1]
    assert [choice.text for choice in done.choices] == ["one two "] * 3
    assert InferenceJob.objects.get().completion_tokens == 6


def test_every_answer_passes_the_plugins(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one")
    job = replace(job, params=replace(job.params, n=2))
    plugins = [link(Suffix, "q", AFTER, suffix="-q")]
    events = run(make_runner(plugins=plugins), job, redis_client)
    done = events[-1]
    assert [choice.text for choice in done.choices] == [done.text] * 2
    assert (done.text, done.plugins) == ("one -q", ("q",))
