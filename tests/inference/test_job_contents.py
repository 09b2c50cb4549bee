from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiKey
from inference import wire
from inference.job_contents import kept_until, public_error, remove_due
from inference.models import InferenceJob
from inference.protocol import DoneEvent, FinishReason, Prompt, SamplingParams, Timings, Usage
from inference.services.settlement import settle_jobs, settlement_of
from inference.worker.sweeper import Sweeper
from llamagpu.lib.retention import Retention
from tests.conftest import Caller

End = Callable[..., InferenceJob]
QUARTER = timedelta(minutes=15)


@pytest.fixture
def end(member: Caller, model: Any) -> End:
    """A job that has been answered, `end(days_ago=40)` as long ago as that."""

    def make(*, days_ago: float = 0, **fields: Any) -> InferenceJob:
        row = InferenceJob.objects.create(
            owner=member.user,
            model=model,
            request_id="r",
            prompt=wire.to_builtins(Prompt(text="who am I?")),
            params=wire.to_builtins(SamplingParams(stop=("my name",))),
            deadline_at=timezone.now(),
            end_user="somebody",
            **fields,
        )
        done = DoneEvent("nobody", FinishReason.STOP, Usage(3, 1), Timings(), "m", "cpu")
        settle_jobs([settlement_of(str(row.pk), 1, done)])
        row.refresh_from_db()
        if row.content_until is not None:
            row.content_until -= timedelta(days=days_ago)
            row.save()
        return row

    return make


def test_texts_stay_where_nobody_wants_them_gone(end: End) -> None:
    row = end()
    assert (row.retention, row.content_until, row.output) == ("full", None, "nobody")
    assert remove_due() == 0


def test_what_the_configuration_says_holds_for_all(end: End, settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, job_retention=Retention("days", 30))
    row = end()
    assert row.retention == "30d"
    assert row.content_until == row.finished_at + timedelta(days=30)


def test_a_users_policy_stands_before_the_configurations(
    end: End, settings: Any, member: Caller
) -> None:
    settings.LLAMA = replace(settings.LLAMA, job_retention=Retention("none"))
    member.user.retention = "full"
    member.user.save()
    assert end().retention == "full"


@pytest.mark.parametrize(("of_key", "holds"), [("1d", "1d"), ("full", "7d"), ("", "7d")])
def test_a_keys_policy_counts_where_it_keeps_less(
    end: End, member: Caller, of_key: str, holds: str
) -> None:
    member.user.retention = "7d"
    member.user.save()
    ApiKey.objects.update(retention=of_key)
    assert end(api_key=ApiKey.objects.get()).retention == holds


@pytest.mark.parametrize("policy", ["none", "hash", "7d"])
def test_what_is_due_is_removed_with_all_words_of_the_caller(
    end: End, member: Caller, policy: str
) -> None:
    member.user.retention = policy
    member.user.save()
    fresh, old = end(), end(days_ago=8)
    assert remove_due() == 1
    fresh.refresh_from_db()
    old.refresh_from_db()
    assert fresh.output == "nobody"  # its caller may still come for it
    assert (old.prompt, old.output, old.answer) == ({}, "", None)
    assert "my name" not in str(old.params)
    assert old.end_user == ""
    assert old.content_removed_at is not None
    assert (old.prompt_tokens, old.completion_tokens, old.state) == (3, 1, "succeeded")
    digest = hashlib.sha256(b"nobody").hexdigest()
    assert (old.content_digests or {}).get("output") == (digest if policy == "hash" else None)
    assert remove_due() == 0


def test_an_error_about_the_input_goes_with_the_words_that_it_repeats(
    end: End, member: Caller
) -> None:
    member.user.retention = "none"
    member.user.save()
    about_input, other = end(days_ago=1), end(days_ago=1)
    errors = InferenceJob.objects.filter(pk=about_input.pk)
    errors.update(error_code="INVALID_INPUT", error_message="invalid regex: my secret ([")
    InferenceJob.objects.filter(pk=other.pk).update(error_code="NO_WORKER", error_message="gone")
    assert remove_due() == 2
    about_input.refresh_from_db()
    other.refresh_from_db()
    assert "secret" not in about_input.error_message
    assert other.error_message == "gone"


def test_texts_stay_a_quarter_of_an_hour_whatever_is_wanted() -> None:
    now = timezone.now()
    assert kept_until(Retention("none"), now) == now + QUARTER
    assert kept_until(Retention("hash"), now) == now + QUARTER
    assert kept_until(Retention("days", 1), now) == now + timedelta(days=1)
    assert kept_until(Retention("full"), now) is None


def test_many_are_removed_in_parts(end: End, member: Caller, monkeypatch: Any) -> None:
    monkeypatch.setattr("inference.job_contents._BATCH", 2)
    member.user.retention = "none"
    member.user.save()
    for _ in range(5):
        end(days_ago=1)
    assert remove_due(limit=3) == 3
    assert remove_due() == 2


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_worker_sweeps(end: End, member: Caller) -> None:
    member.user.retention = "none"
    member.user.save()
    row = end(days_ago=1)
    Sweeper().sweep()
    row.refresh_from_db()
    assert row.output == ""


def test_what_was_refused_may_repeat_words_that_are_the_owners() -> None:
    for code in ("INVALID_INPUT", "PLUGIN_REFUSED"):
        assert "its owner reads why" in public_error(code, "he wrote: secret")
    assert public_error("PLUGIN_FAILED", "the plugin 'p' failed") == "the plugin 'p' failed"
