"""Jobs whose readers are gone without a word, as the worker that runs them sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from inference.models import InferenceJob
from inference.protocol import GenerationJob
from inference.stream import JobKeys
from inference.worker import reader_watch
from inference.worker.generation import JobRunner
from inference.worker.reader_watch import FORSAKEN, ReaderWatch
from tests.inference.worker.conftest import events_of, wait_until

Runner = Callable[..., JobRunner]
Job = Callable[..., GenerationJob]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(reader_watch.time, "monotonic", lambda: now[0])
    return now


def test_a_job_is_forsaken_once_its_grace_is_over(clock: list[float]) -> None:
    watch = ReaderWatch()
    assert not watch.is_forsaken("a", 30.0, is_read=False)
    clock[0] += 29
    assert not watch.is_forsaken("a", 30.0, is_read=False)
    clock[0] += 1
    assert watch.is_forsaken("a", 30.0, is_read=False)


def test_a_reader_who_comes_back_begins_the_grace_anew(clock: list[float]) -> None:
    watch = ReaderWatch()
    watch.is_forsaken("a", 30.0, is_read=False)
    clock[0] += 29
    assert not watch.is_forsaken("a", 30.0, is_read=True)
    clock[0] += 29
    assert not watch.is_forsaken("a", 30.0, is_read=False)


def test_readers_have_the_time_to_show_themselves_whatever_the_grace(clock: list[float]) -> None:
    watch = ReaderWatch()
    assert not watch.is_forsaken("a", 0.0, is_read=False)
    clock[0] += 5
    assert not watch.is_forsaken("a", 0.0, is_read=False)
    clock[0] += 1
    assert watch.is_forsaken("a", 0.0, is_read=False)


def test_a_job_that_needs_no_reader_is_never_forsaken(clock: list[float]) -> None:
    watch = ReaderWatch()
    watch.is_forsaken("a", None, is_read=False)
    clock[0] += 10_000
    assert not watch.is_forsaken("a", None, is_read=False)


def test_jobs_that_are_over_are_forgotten(clock: list[float]) -> None:
    watch = ReaderWatch()
    watch.is_forsaken("a", 0.0, is_read=False)
    watch.keep_only(["b"])
    clock[0] += 10
    assert not watch.is_forsaken("a", 0.0, is_read=False)


def test_a_running_job_without_a_reader_is_cancelled(
    make_runner: Runner, make_job: Job, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its web process was killed: nobody has asked for its end."""
    monkeypatch.setattr(reader_watch, "READER_LIFETIME", 0.5)
    job = make_job("hang", reader_grace=0)
    thread = threading.Thread(target=make_runner().run, args=[job])
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    wait_until(lambda: InferenceJob.objects.get().state == "cancelled", "the end")
    assert InferenceJob.objects.get().error_message == FORSAKEN


def test_a_running_job_with_a_reader_goes_on(
    make_runner: Runner, make_job: Job, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_watch, "READER_LIFETIME", 0.0)
    job = make_job("hang", reader_grace=0)
    redis_client.set(JobKeys(job.job_id).reader, "1")
    thread = threading.Thread(target=make_runner().run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    lease = JobKeys(job.job_id).lease
    for _ in range(3):  # three looks at its lease, none of which ends it
        redis_client.pexpire(lease, 1000)
        wait_until(lambda: redis_client.pttl(lease) > 5000, "the lease is renewed")
    assert thread.is_alive()
    redis_client.delete(JobKeys(job.job_id).reader)
    thread.join(30)
    assert not thread.is_alive()
