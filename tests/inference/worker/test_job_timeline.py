"""The timeline of real runs: a real worker, a real database, an engine process that obeys."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from inference.job_timeline import timeline_of
from inference.models import InferenceJob, JobAttempt
from inference.presence import WorkerReport, announce
from inference.protocol import GenerationJob, SamplingParams
from inference.services.answers import done_event_of
from inference.services.attempts import JobStart, next_attempt, start_jobs
from inference.services.cancellation import request_cancel
from inference.stream import JobKeys
from inference.wire import to_builtins
from inference.worker.generation import JobRunner
from inference.worker.reaper import Reaper
from plugins_app.base import PluginCategory
from tests.conftest import Caller
from tests.inference.worker.conftest import events_of, wait_until
from tests.plugins_app.links import link
from tests.plugins_app.sample_plugins import Suffix

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]
BEFORE, AFTER = PluginCategory.PRE_PROCESSOR, PluginCategory.OUTPUT_PROCESSOR


def run(runner: JobRunner, job: GenerationJob, client: Any) -> dict[str, dict[str, Any]]:
    """The stages of the job once it has ended, by name."""
    runner.run(job)
    wait_until(lambda: client.exists(JobKeys(job.job_id).ended), "the job ends")
    return stages(InferenceJob.objects.get(pk=job.job_id))


def stages(row: InferenceJob) -> dict[str, dict[str, Any]]:
    return {
        event.stage: {"at": event.at, "duration": event.duration, **event.details}
        for event in timeline_of(row)
    }


def attempts_of(row: InferenceJob) -> list[tuple[int, str]]:
    return [
        (event.details["number"], event.details.get("cause", ""))
        for event in timeline_of(row)
        if event.stage == "attempt"
    ]


def test_a_plain_run_is_told_stage_by_stage(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say one two three", admission_time=0.25, reserved_tokens=103, limits=[])
    told = run(make_runner(), job, redis_client)
    assert list(told) == [
        "admission",
        "limits",
        "queue",
        "attempt",
        "load",
        "engine_queue",
        "prefill",
        "decode",
        "end",
        "retention",
    ]
    row = InferenceJob.objects.get()
    assert told["admission"]["at"] == row.created_at - timedelta(seconds=0.25)
    assert told["admission"]["duration"] == 0.25
    assert told["limits"]["reserved_tokens"] == 103
    assert (told["attempt"]["number"], told["attempt"]["worker"]) == (1, "w")
    # What the fake engine says: no wait, the first of three tokens after 10 of 20 ms.
    assert told["engine_queue"]["duration"] == 0.0
    assert told["prefill"]["duration"] == 0.01
    assert told["prefill"]["prompt_tokens"] == 2
    assert told["decode"]["duration"] == 0.01
    assert told["decode"]["tokens_per_second"] == 200.0
    assert (told["end"]["state"], told["end"]["finish_reason"]) == ("succeeded", "stop")
    assert told["retention"]["policy"] == "full"


def test_its_parts_add_up_to_the_whole(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    told = run(make_runner(), make_job("say one two", admission_time=0.0), redis_client)
    row = InferenceJob.objects.get()
    waits = told["queue"]["duration"] + told["load"]["duration"] + told["engine_queue"]["duration"]
    assert row.queue_time is not None
    assert waits <= row.queue_time
    assert told["load"]["duration"] > 0  # the engine process had to be started
    assert told["end"]["duration"] >= row.queue_time
    moments = [event["at"] for event in told.values() if event["at"]]
    inside = moments[: list(told).index("load")]
    assert inside == sorted(inside)


def test_no_stage_is_told_that_was_not_measured(make_job: Job) -> None:
    """A job that waits, and one of a time when less was noted."""
    waiting = InferenceJob.objects.get(pk=make_job("say hi").job_id)
    assert list(stages(waiting)) == ["admission", "queue"]
    assert stages(waiting)["queue"]["duration"] is None
    assert stages(waiting)["admission"]["duration"] is None
    now = timezone.now()
    old = make_job("x", state="succeeded", started_at=now, finished_at=now, queue_time=1.0)
    told = stages(InferenceJob.objects.get(pk=old.job_id))
    assert list(told) == ["admission", "queue", "attempt", "end"]


def test_a_job_that_ended_in_the_queue_tells_how_long_it_waited(make_job: Job) -> None:
    now = timezone.now()
    job = make_job(
        "x",
        created_at=now - timedelta(seconds=5),
        state="cancelled",
        finished_at=now,
        error_code="CANCELLED",
        error_message="The job was cancelled.",
    )
    told = stages(InferenceJob.objects.get(pk=job.job_id))
    assert list(told) == ["admission", "queue", "end"]
    assert told["queue"]["duration"] == 5.0
    assert told["end"]["error"]["code"] == "CANCELLED"


def test_a_wait_for_a_worker_is_told_apart_from_one_for_the_engine(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = make_job("say hi", created_at=timezone.now() - timedelta(seconds=5))
    told = run(make_runner(), job, redis_client)
    row = InferenceJob.objects.get()
    assert told["queue"]["duration"] >= 5
    assert row.queue_time >= told["queue"]["duration"] + told["load"]["duration"]
    assert told["prefill"]["ttft"] >= row.queue_time
    assert told["engine_queue"]["duration"] == 0.0


def test_an_engine_that_died_shows_both_attempts(
    make_runner: Runner, make_job: Job, redis_client: Any, tmp_path: Path
) -> None:
    job = make_job(f"die once {tmp_path / 'mark'}")
    told = run(make_runner(), job, redis_client)
    row = InferenceJob.objects.get()
    assert attempts_of(row) == [(1, ""), (2, "engine_died")]
    first, second = row.attempts.all()
    assert first.worker == second.worker == "w"
    assert first.started_at < second.started_at == row.started_at
    assert told["queue"]["duration"] == (first.started_at - row.created_at).total_seconds()
    # Two engine processes were waited for; when is told by the attempts.
    assert told["load"]["at"] is None
    assert told["load"]["duration"] > 0
    assert told["end"]["state"] == "succeeded"


def test_a_job_that_kills_every_engine_tells_of_three_attempts(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    told = run(make_runner(), make_job("die"), redis_client)
    row = InferenceJob.objects.get()
    assert attempts_of(row) == [(1, ""), (2, "engine_died"), (3, "engine_died")]
    assert told["end"]["error"]["code"] == "INFERENCE_FAILED"
    assert "decode" not in told


def test_a_worker_that_died_is_the_cause_of_the_next_attempt(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    long_ago = timezone.now() - timedelta(seconds=30)
    job = make_job(
        "say hi", state="running", worker="dead", created_at=long_ago, started_at=long_ago
    )
    announce(redis_client, WorkerReport("w", "new", 1, "here", 0.0, 0, 8))
    assert Reaper(redis_client).sweep() == 1
    told = run(make_runner(), replace(job, attempt=2), redis_client)
    row = InferenceJob.objects.get()
    assert attempts_of(row) == [(1, ""), (2, "worker_gone")]
    assert [attempt.worker for attempt in row.attempts.all()] == ["dead", "w"]
    assert told["queue"]["duration"] == 0.0


def test_an_attempt_that_never_came_to_a_worker_is_not_told(make_job: Job) -> None:
    now = timezone.now()
    job = make_job("x", state="running", worker="first", started_at=now)
    row = InferenceJob.objects.get()
    for _ in range(2):
        assert next_attempt(row) is not None
        row.refresh_from_db()
    start = JobStart(job.job_id, 3, "third", now + timedelta(seconds=9))
    start_jobs([start])
    start_jobs([start])  # written again after the database was away
    rows = JobAttempt.objects.values_list("number", "worker", "cause")
    assert list(rows) == [(1, "first", ""), (3, "third", "worker_gone")]


def test_a_late_start_of_a_job_that_has_ended_leaves_no_attempt(make_job: Job) -> None:
    job = make_job("x", state="failed", finished_at=timezone.now(), started_at=timezone.now())
    start_jobs([JobStart(job.job_id, 2, "late", timezone.now())])
    assert not JobAttempt.objects.exists()


def test_a_cancelled_answer_tells_how_far_it_came(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    runner, job = make_runner(), make_job("hang")
    thread = threading.Thread(target=runner.run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    request_cancel(job.job_id)
    thread.join(30)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    told = stages(InferenceJob.objects.get())
    assert told["end"]["error"]["code"] == "CANCELLED"
    assert told["end"]["completion_tokens"] == 1
    assert told["prefill"]["duration"] is not None
    assert told["decode"]["duration"] is None
    assert told["load"]["duration"] is not None


def test_a_model_that_does_not_load_tells_how_long_it_was_waited_for(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    told = run(make_runner(), replace(make_job("say hi"), model="broken"), redis_client)
    assert told["end"]["error"]["code"] == "MODEL_LOAD_FAILED"
    assert told["load"]["duration"] > 0
    assert "prefill" not in told


def test_a_wait_for_a_model_that_does_not_come_is_a_wait_for_loading(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    job = replace(make_job("say hi", timeout=0.5), model="slow")
    told = run(make_runner(), job, redis_client)
    assert told["end"]["error"]["code"] == "DEADLINE_EXCEEDED"
    assert told["load"]["duration"] > 0


def test_plugins_that_acted_are_named_before_and_after(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    before = link(Suffix, "before it", BEFORE, suffix="-p")
    after = link(Suffix, "after it", AFTER, suffix="-q")
    job = make_job("say hi")
    told = run(make_runner(plugins=[before, after]), job, redis_client)
    assert told["plugins_before"]["plugins"] == ["before it"]
    assert told["plugins_after"]["plugins"] == ["after it"]
    (done,) = [event for _, event in events_of(redis_client, job.job_id)][-1:]
    assert done.plugins == ("before it", "after it")


def test_the_row_gives_the_answer_back_as_it_was(
    make_runner: Runner, make_job: Job, redis_client: Any
) -> None:
    """All of several answers, and what was measured: what readers were told, word for word."""
    job = replace(make_job("say one two"), params=SamplingParams(n=3))
    InferenceJob.objects.update(params=to_builtins(job.params))
    run(make_runner(), job, redis_client)
    row = InferenceJob.objects.select_related("model").get()
    assert len(row.answer["choices"]) == 3
    told = events_of(redis_client, job.job_id)[-1][1]
    assert done_event_of(row) == told


def test_the_timeline_over_http_is_the_same(
    make_runner: Runner, make_job: Job, redis_client: Any, member: Caller, tmp_path: Path
) -> None:
    job = make_job(f"die once {tmp_path / 'mark'}")
    run(make_runner(), job, redis_client)
    body = json.loads(member.get(f"/api/jobs/{job.job_id}/timeline").content)
    assert body["state"] == "succeeded"
    numbers = [e["details"]["number"] for e in body["events"] if e["stage"] == "attempt"]
    assert numbers == [1, 2]
    assert "die once" not in json.dumps(body)
    (of_request,) = json.loads(member.get("/api/requests/req_1").content)["results"]
    assert of_request["events"] == body["events"]
    refused = member.get("/api/requests/req_refused")
    assert refused.status_code == 404
    assert "what was refused is told" in json.loads(refused.content)["error"]["message"]
