"""Jobs that come many in a message: taken at once, a few run at a time, none lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from inference.models import InferenceJob
from inference.presence import EngineReport
from inference.protocol import GenerationJob
from inference.services.cancellation import request_cancel
from inference.states import ModelState
from inference.stream import JobKeys
from inference.worker.batch_lane import BatchLane
from inference.worker.generation import JobRunner
from tests.inference.worker.conftest import wait_until

Job = Callable[..., GenerationJob]


@pytest.fixture
def runner(make_runner: Callable[..., JobRunner]) -> JobRunner:
    return make_runner()


@pytest.fixture
def lane(runner: JobRunner) -> Iterator[BatchLane]:
    """Two at a time: an engine of three slots, one of them kept free."""
    made = BatchLane(runner, num_slots=3)
    yield made
    made.drain()


def ids(jobs: list[GenerationJob]) -> list[str]:
    return [job.job_id for job in jobs]


def ended(number: int) -> Callable[[], bool]:
    return lambda: InferenceJob.objects.exclude(finished_at=None).count() == number


def test_every_job_of_a_message_runs_and_answers_for_itself(lane: BatchLane, make_job: Job) -> None:
    jobs = [make_job(f"say word{number}") for number in range(12)]
    assert lane.take(ids(jobs)) == 12
    wait_until(ended(12), "all jobs end")
    for number, job in enumerate(jobs):
        row = InferenceJob.objects.get(pk=job.job_id)
        assert (row.state, row.output) == ("succeeded", f"word{number} ")


def test_jobs_that_wait_their_turn_are_held_so_that_nobody_takes_them_over(
    lane: BatchLane, make_job: Job, redis_client: Any
) -> None:
    jobs = [make_job("hang") for _ in range(4)]
    lane.take(ids(jobs))
    assert all(redis_client.exists(JobKeys(job.job_id).lease) for job in jobs)
    wait_until(lambda: InferenceJob.objects.filter(state="running").count() == 2, "two run")
    for job in jobs:
        request_cancel(job.job_id)
    wait_until(ended(4), "all are cancelled")
    assert set(InferenceJob.objects.values_list("state", flat=True)) == {"cancelled"}


def test_a_message_that_comes_twice_and_what_has_ended_are_left_alone(
    lane: BatchLane, make_job: Job
) -> None:
    job, over = make_job("say hi"), make_job("say hi", state="cancelled")
    assert lane.take([job.job_id, over.job_id]) == 1
    wait_until(lambda: InferenceJob.objects.get(pk=job.job_id).finished_at, "it ends")
    assert lane.take([job.job_id, over.job_id]) == 0


def test_a_worker_that_drains_gives_back_what_waits(
    runner: JobRunner, lane: BatchLane, engines: Any, make_job: Job, redis_client: Any
) -> None:
    jobs = [make_job("hang") for _ in range(4)]
    lane.take(ids(jobs))
    wait_until(lambda: InferenceJob.objects.filter(state="running").count() == 2, "two run")
    lane.drain()
    runner.drain()
    engines.close(0.2)
    wait_until(
        lambda: not any(redis_client.exists(JobKeys(job.job_id).lease) for job in jobs),
        "all leases are free",
    )
    assert not InferenceJob.objects.exclude(finished_at=None).exists()


def test_fewer_run_side_by_side_while_single_calls_take_the_slots(
    runner: JobRunner, make_job: Job
) -> None:
    """An engine of four slots, one of which is kept free; two single calls leave one to the batch."""
    report = EngineReport("m", ModelState.READY, num_slots=4)
    lane = BatchLane(runner, num_slots=4, engines=lambda: (report,))
    singles = [make_job("hang") for _ in range(2)]
    assert lane.width == 3
    for job in singles:
        runner.accept(job)
    assert lane.width == 1
    jobs = [make_job("hang") for _ in range(3)]
    lane.take(ids(jobs))
    wait_until(lambda: InferenceJob.objects.filter(state="running").count() == 1, "one runs")
    for job in singles:
        runner.give_back(job.job_id)
    wait_until(lambda: InferenceJob.objects.filter(state="running").count() == 3, "all run")
    for job in jobs:
        request_cancel(job.job_id)
    wait_until(ended(3), "all are cancelled")
    lane.drain()


def test_jobs_that_wait_for_a_slot_are_given_back_at_the_end(
    runner: JobRunner, engines: Any, make_job: Job, redis_client: Any
) -> None:
    report = EngineReport("m", ModelState.READY, num_slots=4, kv_cache_usage=1.0)
    lane = BatchLane(runner, num_slots=4, engines=lambda: (report,))
    jobs = [make_job("hang") for _ in range(3)]
    lane.take(ids(jobs))
    wait_until(lambda: InferenceJob.objects.filter(state="running").count() == 1, "one runs")
    runner.drain()
    lane.drain()
    wait_until(
        lambda: sum(redis_client.exists(JobKeys(job.job_id).lease) for job in jobs) == 1,
        "those that wait are free",
    )
    engines.close(0.2)
    wait_until(
        lambda: not any(redis_client.exists(JobKeys(job.job_id).lease) for job in jobs),
        "so is the one that ran",
    )
