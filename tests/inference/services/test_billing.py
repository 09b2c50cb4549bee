"""From admission to the bill: every way in which a job can end, each billed once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from accounts.job_claims import JobClaim
from accounts.models import TokenReservation, UsageDay
from accounts.services import quotas
from accounts.services.limits import set_limits
from inference.models import InferenceJob
from inference.presence import WorkerReport, announce
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    Prompt,
    RestartEvent,
    SamplingParams,
    Timings,
    TokenEvent,
    Usage,
)
from inference.services import submission
from inference.services.attempts import message_for, next_attempt
from inference.services.cancellation import abandon_job, request_cancel
from inference.services.settlement import settle_jobs, settlement_of
from inference.services.submission import JobCall, PromptTokens, submit_job
from inference.stream import JobKeys, append
from inference.worker.generation import JobRunner
from inference.worker.reaper import Reaper
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller
from tests.inference.worker.conftest import engines, make_runner, wait_until  # noqa: F401

Submit = Callable[..., GenerationJob]


@pytest.fixture
def submit(
    transactional_db: None,
    django_db_serialized_rollback: None,
    redis_client: Any,
    member: Caller,
    model: Any,
) -> Submit:
    def run(text: str = "say hi", *, counted: int = 5, max_tokens: int = 20) -> GenerationJob:
        return submit_job(
            JobCall(
                owner=member.user,
                api_key=None,
                model=model,
                prompt=Prompt(text=text),
                params=SamplingParams(max_tokens=max_tokens),
                priority=0,
                timeout=60,
                request_id="req_1",
                is_streamed=False,
                prompt_tokens=PromptTokens(counted, counted),
            )
        )

    return run


def done(prompt: int = 5, completion: int = 7) -> DoneEvent:
    usage = Usage(prompt, completion, 2)
    return DoneEvent("hello", FinishReason.STOP, usage, Timings(), "m", "cpu")


def bill() -> tuple[int, int, int, int]:
    """Requests, failed ones, prompt and generated tokens of the one row that there is."""
    row = UsageDay.objects.get()
    assert not TokenReservation.objects.exists()
    return row.requests, row.failed_requests, row.prompt_tokens, row.completion_tokens


def publish(client: Any, job_id: str, entry_id: str, event: Any) -> None:
    pipeline = client.pipeline()
    append(pipeline, JobKeys(job_id), entry_id, event, 60)
    pipeline.execute()


def test_an_admitted_job_sets_aside_what_it_may_use(submit: Submit) -> None:
    job = submit(counted=5, max_tokens=20)
    reservation = TokenReservation.objects.get()
    assert (str(reservation.job_id), reservation.tokens) == (job.job_id, 25)
    assert InferenceJob.objects.get().prompt_tokens == 5


def test_a_job_over_the_quota_leaves_nothing_behind(submit: Submit, redis_client: Any) -> None:
    set_limits(actor=None, subject="user:the-user", daily_tokens=24, tokens_per_minute=40)
    with pytest.raises(AppError) as raised:
        submit(counted=5, max_tokens=20)
    assert raised.value.code is ErrorCode.QUOTA_EXCEEDED
    assert not InferenceJob.objects.exists()
    assert not TokenReservation.objects.exists()
    # The minute has its tokens back: another one fits.
    submit(counted=4, max_tokens=20)
    assert redis_client.llen("lg:inference") == 1


def test_the_minute_is_full(submit: Submit) -> None:
    set_limits(actor=None, subject="user:the-user", tokens_per_minute=40)
    job = submit(counted=5, max_tokens=20)
    with pytest.raises(AppError, match="tokens_per_minute"):
        submit(counted=5, max_tokens=20)
    settle_jobs([settlement_of(job.job_id, 1, done())])
    submit(counted=5, max_tokens=20)


def test_a_job_is_billed_once_however_often_it_is_settled(submit: Submit) -> None:
    job = submit()
    settlement = settlement_of(job.job_id, 1, done())
    assert settle_jobs([settlement, settlement]) == [job.job_id]
    assert settle_jobs([settlement]) == []
    late = ErrorEvent(ErrorCode.CANCELLED, "late", Usage(5, 3))
    assert settle_jobs([settlement_of(job.job_id, 2, late)]) == []
    assert bill() == (1, 0, 5, 7)


def test_settlements_that_race_bill_once(submit: Submit) -> None:
    job, gate = submit(), threading.Barrier(8)

    def settle() -> None:
        gate.wait()
        settle_jobs([settlement_of(job.job_id, 1, done())])
        connections.close_all()

    threads = [threading.Thread(target=settle) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bill() == (1, 0, 5, 7)


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        (ErrorCode.CANCELLED, 0),
        (ErrorCode.INFERENCE_FAILED, 1),
        (ErrorCode.DEADLINE_EXCEEDED, 1),
    ],
)
def test_what_was_computed_is_billed_whatever_the_end(
    submit: Submit, code: ErrorCode, failed: int
) -> None:
    job = submit()
    event = ErrorEvent(code, "ended", Usage(5, 3))
    settle_jobs([settlement_of(job.job_id, 1, event)])
    assert bill() == (1, failed, 5, 3)
    row = InferenceJob.objects.get()
    assert (row.prompt_tokens, row.completion_tokens) == (5, 3)


def test_a_later_attempt_is_billed_alone(submit: Submit) -> None:
    job = submit()
    second = next_attempt(InferenceJob.objects.select_related("model").get())
    assert second is not None
    assert TokenReservation.objects.count() == 1
    settle_jobs([settlement_of(job.job_id, 2, done(5, 9))])
    assert bill() == (1, 0, 5, 9)


def test_a_job_that_cannot_be_queued_frees_its_tokens(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: GenerationJob, queue: str) -> None:
        raise submission.BrokerUnavailableError("away")

    monkeypatch.setattr(submission, "ring", broken)
    with pytest.raises(AppError, match="broker"):
        submit()
    assert bill() == (1, 1, 0, 0)


def test_a_caller_who_hangs_up_pays_for_what_was_computed(
    submit: Submit,
    make_runner: Callable[..., JobRunner],  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit("hang")
    thread = threading.Thread(target=make_runner().run, args=[job])
    thread.start()
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).events), "the first token")
    request_cancel(job.job_id)
    thread.join(30)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    assert bill() == (1, 0, 1, 1)


def test_a_rerun_after_a_death_is_billed_once(
    submit: Submit,
    make_runner: Callable[..., JobRunner],  # noqa: F811
    redis_client: Any,
    tmp_path: Any,
) -> None:
    job = submit(f"die once {tmp_path / 'mark'}")
    make_runner().run(job)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    assert bill() == (1, 0, 2, 1)


def test_a_request_that_only_kills_engines_is_not_billed(
    submit: Submit,
    make_runner: Callable[..., JobRunner],  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit("die")
    make_runner().run(job)
    wait_until(lambda: redis_client.exists(JobKeys(job.job_id).ended), "the end")
    assert bill() == (1, 1, 0, 0)


# ---------------------------------------------------------------- jobs whose worker is gone


def test_an_abandoned_job_is_billed_for_what_it_published(
    submit: Submit, redis_client: Any
) -> None:
    job = submit(counted=5)
    publish(redis_client, job.job_id, "1-1", TokenEvent("a b c", 2))
    abandon_job(job.job_id, 1, ErrorCode.NO_WORKER, "gone")
    assert bill() == (1, 1, 5, 3)


def test_what_an_earlier_attempt_published_is_not_billed(submit: Submit, redis_client: Any) -> None:
    job = submit(counted=5)
    publish(redis_client, job.job_id, "1-1", TokenEvent("a b c", 2))
    publish(redis_client, job.job_id, "2-1", RestartEvent(2))
    abandon_job(job.job_id, 2, ErrorCode.NO_WORKER, "gone")
    assert bill() == (1, 1, 0, 0)


def test_the_reaper_frees_what_a_crash_left_behind(submit: Submit, redis_client: Any) -> None:
    set_limits(actor=None, subject="user:the-user", daily_tokens=25)
    job = submit(counted=5, max_tokens=20)
    publish(redis_client, job.job_id, "1-1", TokenEvent("a b", 1))
    with pytest.raises(AppError):
        submit(counted=1, max_tokens=1)
    long_ago = timezone.now() - timedelta(minutes=5)
    InferenceJob.objects.update(created_at=long_ago, deadline_at=long_ago, state="running")
    announce(redis_client, WorkerReport("w", "new", 1, "here", 0.0, 0, 8))
    assert Reaper(redis_client).sweep() == 1
    assert bill() == (1, 1, 5, 2)
    submit(counted=1, max_tokens=1)


def test_an_end_that_missed_the_database_is_billed_from_its_stream(
    submit: Submit, redis_client: Any
) -> None:
    job = submit()
    publish(redis_client, job.job_id, "1-1", ErrorEvent(ErrorCode.CANCELLED, "x", Usage(5, 4)))
    long_ago = timezone.now() - timedelta(seconds=30)
    InferenceJob.objects.update(created_at=long_ago, state="running")
    assert Reaper(redis_client).sweep() == 1
    assert bill() == (1, 0, 5, 4)


def test_a_job_from_before_reservations_is_billed_as_well(submit: Submit) -> None:
    job = submit()
    TokenReservation.objects.all().delete()
    settle_jobs([settlement_of(job.job_id, 1, done())])
    assert bill() == (1, 0, 5, 7)


def test_parallel_submissions_never_overspend(submit: Submit, member: Caller) -> None:
    set_limits(actor=None, subject="user:the-user", daily_tokens=110)
    outcomes: list[bool] = []
    gate = threading.Barrier(12)

    def call() -> None:
        gate.wait()
        try:
            submit(counted=5, max_tokens=20)
            outcomes.append(True)
        except AppError:
            outcomes.append(False)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == 4
    assert InferenceJob.objects.count() == TokenReservation.objects.count() == 4


def test_a_reservation_is_for_the_whole_life_of_a_job(submit: Submit, member: Caller) -> None:
    set_limits(actor=None, subject="user:the-user", concurrent_jobs=1)
    job = submit()
    assert message_for(InferenceJob.objects.select_related("model").get()).job_id == job.job_id
    claim = JobClaim(InferenceJob.objects.get().pk, member.user, None, "m", 1)
    with pytest.raises(AppError, match="concurrent_jobs"), transaction.atomic():
        quotas.reserve(claim)
