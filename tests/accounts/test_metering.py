"""What was used is billed once, to the right day, person, role, key and model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from accounts import limit_policies
from accounts.models import Role, TokenReservation, UsageDay, User
from accounts.services.api_keys import create_api_key
from accounts.services.metering import JobUsage, settle
from tests.accounts.test_quotas import claim, take, used
from tests.conftest import Caller


def test_jobs_of_one_batch_are_summed_up(member: Caller) -> None:
    jobs = [claim(member.user, 10) for _ in range(5)]
    for job in jobs:
        assert take(job) == ""
    settle([used(job, 3, 4, is_failed=job is jobs[0]) for job in jobs])
    row = UsageDay.objects.get()
    assert (row.requests, row.failed_requests) == (5, 1)
    assert (row.prompt_tokens, row.completion_tokens) == (15, 20)
    assert (row.username, row.role_slug, row.key_prefix) == ("the-user", "user", "")
    assert not TokenReservation.objects.exists()


def test_later_batches_add_to_the_same_row(member: Caller) -> None:
    for _ in range(3):
        settle([used(claim(member.user, 0), 1, 2)])
    assert UsageDay.objects.get().requests == 3


def test_key_model_person_and_day_have_rows_of_their_own(member: Caller, operator: Caller) -> None:
    key, _ = create_api_key(actor=None, user=member.user, name="billed")
    jobs = [
        claim(member.user, 0),
        claim(member.user, 0, key),
        claim(member.user, 0, model="another"),
        claim(operator.user, 0),
    ]
    settle([used(job, 1, 1) for job in jobs])
    midnight = used(jobs[0], 1, 1)
    late = JobUsage(
        midnight.job_id, midnight.payer, midnight.model_slug,
        datetime(2020, 1, 1, 23, 59, 59, tzinfo=UTC), False,
    )  # fmt: skip
    settle([late])
    rows = UsageDay.objects.values_list("username", "role_slug", "key_prefix", "model_slug")
    assert set(rows) == {
        ("the-user", "user", "", "some-model"),
        ("the-user", "user", key.prefix, "some-model"),
        ("the-user", "user", "", "another"),
        ("the-operator", "operator", "", "some-model"),
    }
    assert UsageDay.objects.filter(day="2020-01-01").count() == 1


def test_the_role_of_the_admission_is_billed(member: Caller) -> None:
    job = claim(member.user, 10)
    take(job)
    User.objects.filter(pk=member.user.pk).update(role=Role.objects.get(slug="operator"))
    settle([used(job, 1, 1)])
    assert UsageDay.objects.get().role_slug == "user"


def test_the_bill_outlives_the_account(member: Caller) -> None:
    settle([used(claim(member.user, 0), 1, 1)])
    User.objects.filter(pk=member.user.pk).delete()
    row = UsageDay.objects.get()
    assert (row.username, row.requests) == ("the-user", 1)


@pytest.mark.parametrize("count", [1, 40])
def test_a_batch_costs_the_same_few_queries(
    member: Caller,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_max_num_queries: Any,
    django_capture_on_commit_callbacks: Callable[..., Any],
) -> None:
    monkeypatch.setattr(limit_policies, "LIFETIME", 60.0)
    jobs = [claim(member.user, 1) for _ in range(count)]
    for job in jobs:
        take(job)
    settle([used(claim(member.user, 0), 1, 1)])
    with django_assert_max_num_queries(6), django_capture_on_commit_callbacks():
        settle([used(job, 1, 1) for job in jobs])
