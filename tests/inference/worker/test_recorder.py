"""A database that is away: the caller is told in time, the row is written once it is back."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from inference.models import InferenceJob
from inference.protocol import ErrorEvent, GenerationJob, Usage
from inference.services.attempts import JobStart
from inference.services.settlement import settle_jobs, settlement_of
from inference.worker import recorder as recorder_module
from inference.worker.recorder import Ending, Recorder
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.worker.conftest import wait_until

Job = Callable[..., GenerationJob]


@pytest.fixture
def database_is_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Until it is set, writing an end fails as it does when the server is gone."""
    back = threading.Event()

    def settle(settlements: Any) -> Any:
        if not back.is_set():
            raise OperationalError("server closed the connection unexpectedly")
        return settle_jobs(settlements)

    monkeypatch.setattr(recorder_module, "settle_jobs", settle)
    monkeypatch.setattr(recorder_module, "_PATIENCE", 0.2)
    monkeypatch.setattr(recorder_module, "_RETRY_PAUSE", 0.05)
    return back


def test_the_caller_is_told_first_and_the_row_is_written_later(
    make_job: Job, database_is_back: threading.Event
) -> None:
    job = make_job("x")
    told = threading.Event()
    recorder = Recorder()
    event = ErrorEvent(ErrorCode.CANCELLED, "x")
    recorder.ended(Ending(settlement_of(job.job_id, 1, event), told.set))
    assert told.wait(30)
    assert InferenceJob.objects.get().state == "queued"
    database_is_back.set()
    wait_until(lambda: InferenceJob.objects.get().state == "cancelled", "the row is written")
    recorder.close(10)


def test_a_job_is_settled_once(make_job: Job) -> None:
    job = make_job("x")
    cancelled = settlement_of(job.job_id, 1, ErrorEvent(ErrorCode.CANCELLED, "x"))
    failed = settlement_of(job.job_id, 1, ErrorEvent(ErrorCode.INFERENCE_FAILED, "y"))
    assert settle_jobs([cancelled, failed]) == [job.job_id]
    assert settle_jobs([cancelled]) == []
    assert InferenceJob.objects.get().state == "cancelled"


def test_a_beginning_is_noted_within_a_moment(make_job: Job) -> None:
    job = make_job("x")
    recorder = Recorder()
    recorder.started(JobStart(job.job_id, 1, "worker-1", timezone.now()))
    row = wait_until(
        lambda: InferenceJob.objects.filter(state="running").first(), "the beginning is written"
    )
    assert row.worker == "worker-1"
    recorder.close(10)


def test_a_short_job_s_beginning_and_end_are_one_statement(
    make_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder_module, "_START_PATIENCE", 60.0)
    written: list[Any] = []
    monkeypatch.setattr(recorder_module, "start_jobs", written.append)
    job = make_job("x")
    began_at = timezone.now()
    told = threading.Event()
    recorder = Recorder()
    recorder.started(JobStart(job.job_id, 1, "worker-1", began_at))
    end = settlement_of(job.job_id, 1, ErrorEvent(ErrorCode.CANCELLED, "x"))
    recorder.ended(Ending(end, told.set))
    assert told.wait(30)
    recorder.close(10)
    row = InferenceJob.objects.get()
    assert (row.state, row.worker, row.started_at) == ("cancelled", "worker-1", began_at)
    assert written == []


def test_what_waits_is_written_at_the_end(make_job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_START_PATIENCE", 60.0)
    job = make_job("x")
    recorder = Recorder()
    recorder.started(JobStart(job.job_id, 1, "worker-1", timezone.now()))
    recorder.close(10)
    assert InferenceJob.objects.get().state == "running"


def test_a_row_that_the_database_refuses_harms_no_other_one(
    make_job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    poison, good, later = (make_job("x") for _ in range(3))
    told: list[str] = []
    gate = threading.Event()
    recorder = Recorder()
    nobody = settlement_of("0" * 32, 1, ErrorEvent(ErrorCode.CANCELLED, "x"))
    recorder.ended(Ending(nobody, partial(wait_until, gate.is_set, "all ends are there")))
    for job, tokens in ((poison, 2**70), (good, 7)):
        event = ErrorEvent(ErrorCode.CANCELLED, "x", Usage(tokens))
        ending = Ending(settlement_of(job.job_id, 1, event), partial(told.append, job.job_id))
        recorder.ended(ending)
    gate.set()
    wait_until(lambda: len(told) == 2, "both callers are told")
    event = ErrorEvent(ErrorCode.CANCELLED, "x")
    recorder.ended(Ending(settlement_of(later.job_id, 1, event), lambda: None))
    recorder.close(10)
    states = {str(row.pk): row.state for row in InferenceJob.objects.all()}
    assert states == {poison.job_id: "queued", good.job_id: "cancelled", later.job_id: "cancelled"}
    assert f"job {poison.job_id}: its row is refused" in caplog.text


def test_an_end_that_cannot_be_told_keeps_no_other_one_from_being_told(
    make_job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_job("x"), make_job("x")
    told = threading.Event()

    def fail() -> None:
        raise ValueError("as asked")

    recorder = Recorder()
    event = ErrorEvent(ErrorCode.CANCELLED, "x")
    recorder.ended(Ending(settlement_of(first.job_id, 1, event), fail))
    recorder.ended(Ending(settlement_of(second.job_id, 1, event), told.set))
    assert told.wait(30)
    recorder.close(10)
    assert f"job {first.job_id}: its end cannot be told" in caplog.text
