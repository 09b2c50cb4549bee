"""Jobs that are ended before their time, while they wait and while they run."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.db import connections

from inference.lease import Holder
from inference.models import InferenceJob
from inference.protocol import (
    DoneEvent,
    ErrorEvent,
    FinishReason,
    GenerationJob,
    Timings,
    TokenEvent,
    Usage,
)
from inference.services import cancellation
from inference.services.cancellation import abandon_job, cancel_job
from inference.stream import JobKeys, append, is_terminal
from inference.worker.generation import JobRunner
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from tests.inference.services.test_billing import Submit, bill, submit  # noqa: F401
from tests.inference.worker.conftest import (  # noqa: F401
    engines,
    events_of,
    make_runner,
    wait_until,
)

MakeRunner = Callable[..., JobRunner]


def row_of(job: GenerationJob) -> InferenceJob:
    return InferenceJob.objects.get(pk=job.job_id)


def ends_of(client: Any, job: GenerationJob) -> list[Any]:
    return [event for _, event in events_of(client, job.job_id) if is_terminal(event)]


def test_a_job_that_nobody_has_begun_ends_at_once(
    submit: Submit,  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit()
    assert cancel_job(job=row_of(job), reason="Not wanted any more.")
    row = row_of(job)
    assert (row.state, row.attempt) == ("cancelled", 1)
    assert (row.error_code, row.error_message) == ("CANCELLED", "Not wanted any more.")
    assert ends_of(redis_client, job) == [
        ErrorEvent(ErrorCode.CANCELLED, "Not wanted any more.", Usage())
    ]
    assert not redis_client.exists(JobKeys(job.job_id).lease)
    assert bill() == (1, 0, 0, 0), "what was set aside is given back"


def test_its_message_does_nothing_then(
    submit: Submit,  # noqa: F811
    make_runner: MakeRunner,  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit("say hi")
    cancel_job(job=row_of(job))
    make_runner().run(job)
    assert len(events_of(redis_client, job.job_id)) == 1
    assert row_of(job).state == "cancelled"


def test_a_running_job_is_ended_by_its_worker_which_tells_the_reason(
    submit: Submit,  # noqa: F811
    make_runner: MakeRunner,  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit("hang")
    thread = threading.Thread(target=make_runner().run, args=[job])
    thread.start()
    wait_until(lambda: events_of(redis_client, job.job_id), "the first token")
    assert not cancel_job(job=row_of(job), reason="Not wanted any more.")
    thread.join(30)
    wait_until(lambda: row_of(job).state == "cancelled", "the end")
    wait_until(lambda: ends_of(redis_client, job), "the end for the reader")
    assert ends_of(redis_client, job)[0].message == "Not wanted any more."
    assert bill() == (1, 0, 1, 1), "what was computed is billed"


def test_a_job_that_has_ended_stays_as_it_is(submit: Submit, redis_client: Any) -> None:  # noqa: F811
    job = submit()
    cancel_job(job=row_of(job), reason="first")
    assert cancel_job(job=row_of(job), reason="second")
    assert row_of(job).error_message == "first"
    assert len(events_of(redis_client, job.job_id)) == 1


def test_an_end_that_is_on_its_way_to_the_database_wins(
    submit: Submit,  # noqa: F811
    redis_client: Any,
) -> None:
    """Its worker told the caller while the database was away, and has let the lease go."""
    job = submit()
    done = DoneEvent("hello", FinishReason.STOP, Usage(5, 7), Timings(), "m", "cpu")
    append(redis_client, JobKeys(job.job_id), "1-1", done, 60)
    assert cancel_job(job=row_of(job))
    assert (row_of(job).state, row_of(job).output) == ("succeeded", "hello")
    assert len(events_of(redis_client, job.job_id)) == 1


def test_a_job_between_two_attempts_ends_at_once_with_what_it_published(
    submit: Submit,  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit(counted=5)
    append(redis_client, JobKeys(job.job_id), "1-1", TokenEvent("a b", 1), 60)
    InferenceJob.objects.update(state="running")
    assert cancel_job(job=row_of(job))
    _, (entry_id, end) = events_of(redis_client, job.job_id)
    assert entry_id == "2-1", "whatever the attempt still writes is refused"
    assert end.usage == Usage(5, 2)
    with pytest.raises(redis.ResponseError, match="equal or smaller"):
        redis_client.xadd(JobKeys(job.job_id).events, {"e": b"x"}, id="1-2")


@pytest.mark.parametrize("head_start", [0.0, 0.002, 0.01, 0.03])
def test_a_cancellation_and_a_worker_that_meet_end_the_job_once(
    submit: Submit,  # noqa: F811
    make_runner: MakeRunner,  # noqa: F811
    redis_client: Any,
    head_start: float,
) -> None:
    make_runner().run(submit("say warm"))  # the engine is up
    for number in range(5):
        job = submit("hang")
        thread = threading.Thread(target=make_runner(f"runner {number}").run, args=[job])
        thread.start()
        threading.Event().wait(head_start)
        cancel_job(job=row_of(job))
        thread.join(30)
        assert not thread.is_alive()
        wait_until(lambda job=job: row_of(job).state == "cancelled", "the row's end")
        wait_until(lambda job=job: ends_of(redis_client, job), "the end for the reader")
        assert len(ends_of(redis_client, job)) == 1
        assert is_terminal(events_of(redis_client, job.job_id)[-1][1])
        lease = JobKeys(job.job_id).lease  # let go of right after the end was told
        wait_until(lambda lease=lease: not redis_client.exists(lease), "the lease's end")
    connections.close_all()


def test_without_redis_the_caller_is_told(
    submit: Submit,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = submit()

    def away(url: str) -> Any:
        raise redis.ConnectionError("no")

    monkeypatch.setattr(cancellation, "sync_client", away)
    with pytest.raises(AppError) as raised:
        cancel_job(job=row_of(job))
    assert raised.value.code is ErrorCode.BACKEND_UNAVAILABLE
    assert row_of(job).state == "queued"


def test_the_readers_of_an_abandoned_job_see_its_end(
    submit: Submit,  # noqa: F811
    redis_client: Any,
) -> None:
    job = submit()
    redis_client.set(JobKeys(job.job_id).lease, Holder("w@here", "dead", 1).encode())
    abandon_job(job.job_id, 1, ErrorCode.NO_WORKER, "gone")
    assert ends_of(redis_client, job) == [ErrorEvent(ErrorCode.NO_WORKER, "gone")]
    assert row_of(job).state == "failed"
