"""What ended long ago is removed where the configuration says so, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import UsageDay
from inference import wire
from inference.models import Batch, BatchItem, FileBatch, InferenceJob, JobAttempt, StoredFile
from inference.protocol import DoneEvent, FinishReason, Prompt, SamplingParams, Timings, Usage
from inference.services import pruning
from inference.services.pruning import prune_history
from inference.services.settlement import settle_jobs, settlement_of
from inference.worker.sweeper import Sweeper
from tests.conftest import Caller

MakeJob = Callable[..., InferenceJob]


@pytest.fixture
def after_a_week(settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, job_history_days=7)


@pytest.fixture
def make_job(member: Caller, model: Any) -> MakeJob:
    """`make_job(days_ago=9, state="failed")`: begun and, unless it is live, ended so long ago."""

    def make(*, days_ago: float, state: str = "succeeded", **fields: Any) -> InferenceJob:
        then = timezone.now() - timedelta(days=days_ago)
        row: InferenceJob = InferenceJob.objects.create(
            owner=member.user,
            model=model,
            request_id="r",
            prompt=wire.to_builtins(Prompt(text="hi")),
            params=wire.to_builtins(SamplingParams()),
            state=state,
            created_at=then,
            deadline_at=then + timedelta(seconds=60),
            finished_at=None if state in ("queued", "running") else then,
            **fields,
        )
        return row

    return make


def left() -> set[str]:
    return set(InferenceJob.objects.values_list("request_id", flat=True))


def test_jobs_stay_unless_somebody_wants_them_gone(make_job: MakeJob) -> None:
    make_job(days_ago=4000)
    assert prune_history() == 0
    assert InferenceJob.objects.exists()


def test_only_what_ended_long_ago_goes_with_its_attempts(
    make_job: MakeJob, after_a_week: None
) -> None:
    old = [make_job(days_ago=8, state=state) for state in ("succeeded", "failed", "cancelled")]
    JobAttempt.objects.create(job=old[0], number=1)
    kept = [
        make_job(days_ago=6),
        make_job(days_ago=8, state="running"),
        make_job(days_ago=8, state="queued"),
        make_job(days_ago=0, state="expired"),
    ]
    assert prune_history() == 3
    assert set(InferenceJob.objects.all()) == set(kept)
    assert not JobAttempt.objects.exists()
    assert prune_history() == 0


def test_what_was_used_stays_in_the_usage(make_job: MakeJob, after_a_week: None) -> None:
    row = make_job(days_ago=0, state="running")
    done = DoneEvent("hi", FinishReason.STOP, Usage(3, 4), Timings(), "m", "cpu")
    settle_jobs([settlement_of(str(row.pk), 1, done)])
    long_ago = timezone.now() - timedelta(days=9)
    InferenceJob.objects.update(created_at=long_ago, finished_at=long_ago)
    assert prune_history() == 1
    usage = UsageDay.objects.get()
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 4)


def test_a_batch_goes_once_none_of_its_jobs_is_left(
    make_job: MakeJob, after_a_week: None, member: Caller, model: Any
) -> None:
    now = timezone.now()

    def batch(days_ago: float) -> Batch:
        then = now - timedelta(days=days_ago)
        row: Batch = Batch.objects.create(
            owner=member.user, model=model, request_id="b", created_at=then, deadline_at=then
        )
        return row

    old, running, refused, fresh = batch(9), batch(9), batch(9), batch(1)
    BatchItem.objects.create(batch=old, position=0, custom_id="0", job=make_job(days_ago=9))
    BatchItem.objects.create(
        batch=running, position=0, custom_id="0", job=make_job(days_ago=9, state="running")
    )
    BatchItem.objects.create(batch=running, position=1, custom_id="1", job=make_job(days_ago=9))
    BatchItem.objects.create(batch=refused, position=0, custom_id="0", error_code="INVALID_INPUT")
    assert prune_history() == 4  # two jobs, two batches
    assert set(Batch.objects.all()) == {running, fresh}
    assert running.items.count() == 2  # what is left says that the job was removed


def test_a_batch_of_a_file_goes_with_its_time_and_its_files_stay(
    after_a_week: None, member: Caller
) -> None:
    now = timezone.now()
    file = StoredFile.objects.create(
        owner=member.user, purpose="batch", filename="q", num_bytes=1, sha256="0"
    )

    def batch(days_ago: float, state: str) -> FileBatch:
        then = now - timedelta(days=days_ago)
        row: FileBatch = FileBatch.objects.create(
            owner=member.user,
            is_by_key=False,
            request_id="b",
            endpoint="/v1/completions",
            input_file=file,
            state=state,
            created_at=then,
            expires_at=then + timedelta(days=1),
        )
        return row

    for state in ("completed", "failed", "cancelled", "expired"):
        batch(9, state)
    kept = [batch(9, "in_progress"), batch(7.5, "completed"), batch(1, "completed")]
    assert prune_history() == 4
    assert set(FileBatch.objects.all()) == set(kept)
    assert StoredFile.objects.exists()


def test_many_go_in_parts(
    make_job: MakeJob, after_a_week: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_BATCH", 2)
    for _ in range(5):
        make_job(days_ago=9)
    assert prune_history(limit=3) == 3
    assert prune_history() == 2


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_worker_prunes(make_job: MakeJob, after_a_week: None) -> None:
    make_job(days_ago=9)
    Sweeper().sweep()
    assert left() == set()
