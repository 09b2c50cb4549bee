"""Nobody takes more than a quota holds, however many ask at once."""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from accounts.balances import account_of_user, read_balances
from accounts.job_claims import JobClaim
from accounts.models import ApiKey, TokenReservation, UsageDay, User
from accounts.quota_refusals import end_of_period
from accounts.services import quotas
from accounts.services.api_keys import create_api_key
from accounts.services.limits import set_limits
from accounts.services.metering import JobUsage, Payer, settle
from llamagpu.http.errors import AppError
from tests.conftest import Caller

MODEL = "some-model"


def claim(user: User, tokens: int, key: ApiKey | None = None, model: str = MODEL) -> JobClaim:
    return JobClaim(uuid.uuid4(), user, key, model, tokens)


def take(wanted: JobClaim) -> str:
    """The code of the refusal, or nothing."""
    try:
        with transaction.atomic():
            quotas.reserve(wanted)
    except AppError as error:
        return str(error.code)
    return ""


def used(wanted: JobClaim, prompt: int, completion: int, *, is_failed: bool = False) -> JobUsage:
    user, key = wanted.user, wanted.api_key
    payer = Payer(
        user.pk,
        user.username,
        user.role_id,
        user.role.slug,
        key.pk if key else None,
        key.prefix if key else "",
    )
    return JobUsage(
        wanted.job_id,
        payer,
        wanted.model_slug,
        timezone.now(),
        is_failed,
        prompt,
        completion,
    )


def limit(subject: str, **values: int | None) -> None:
    set_limits(actor=None, subject=subject, **values)


def refusal(wanted: JobClaim) -> AppError:
    with pytest.raises(AppError) as raised, transaction.atomic():
        quotas.reserve(wanted)
    return raised.value


def test_what_is_set_aside_and_used_counts_together(member: Caller) -> None:
    limit("user:the-user", daily_tokens=100)
    first = claim(member.user, 60)
    assert take(first) == ""
    assert take(claim(member.user, 41)) == "QUOTA_EXCEEDED"
    assert take(claim(member.user, 40)) == ""
    settle([used(first, 5, 5)])
    assert take(claim(member.user, 51)) == "QUOTA_EXCEEDED"
    assert take(claim(member.user, 50)) == ""


def test_the_refusal_names_the_quota_and_its_state(member: Caller) -> None:
    limit("role:user", monthly_tokens=100)
    spent = claim(member.user, 70)
    take(spent)
    settle([used(spent, 30, 40)])
    take(claim(member.user, 20))
    error = refusal(claim(member.user, 31))
    assert error.code == "QUOTA_EXCEEDED"
    for part in ("31 tokens", "monthly_tokens", "of 100", "70 are used", "20 are set aside"):
        assert part in error.message
    end = end_of_period("monthly_tokens", timezone.now())
    assert error.details == {
        "limit": "monthly_tokens",
        "subject": "user",
        "source": "role",
        "value": 100,
        "used": 70,
        "reserved": 20,
        "asked": 31,
        "resets_at": end.isoformat(),
    }
    left = (end - timezone.now()).total_seconds()
    assert error.retry_after is not None
    assert left <= error.retry_after <= left + 60


def test_who_only_waits_for_running_jobs_may_return_soon(member: Caller) -> None:
    limit("user:the-user", daily_tokens=100)
    take(claim(member.user, 80))
    error = refusal(claim(member.user, 30))
    assert error.retry_after == 5
    assert "comes back when they end" in error.message


def test_a_quota_of_nothing_admits_nothing(member: Caller) -> None:
    limit("user:the-user", daily_tokens=0)
    assert take(claim(member.user, 1)) == "QUOTA_EXCEEDED"
    limit("user:the-user", daily_tokens=-1)
    assert take(claim(member.user, 10**9)) == ""


def test_a_key_has_its_own_quota_beside_its_owners(member: Caller) -> None:
    key, _ = create_api_key(actor=None, user=member.user, name="narrow")
    limit(f"key:{key.prefix}", daily_tokens=50)
    limit("user:the-user", daily_tokens=80)
    assert take(claim(member.user, 50, key)) == ""
    assert refusal(claim(member.user, 1, key)).details["subject"] == "key"
    assert take(claim(member.user, 30)) == ""
    assert refusal(claim(member.user, 1)).details["subject"] == "user"


def test_a_role_shares_its_pool(member: Caller, operator: Caller) -> None:
    other = User.objects.create_user("another", role=member.user.role)
    limit("role:user", pool_daily_tokens=100)
    assert take(claim(member.user, 60)) == ""
    assert refusal(claim(other, 41)).details["subject"] == "role"
    assert take(claim(other, 40)) == ""
    assert take(claim(operator.user, 1000)) == ""


def test_a_model_has_a_quota_for_all_who_use_it(member: Caller, operator: Caller) -> None:
    limit("model:precious", daily_tokens=100, concurrent_jobs=2)
    assert take(claim(member.user, 40, model="precious")) == ""
    assert refusal(claim(operator.user, 61, model="precious")).details["subject"] == "model"
    assert take(claim(operator.user, 60, model="precious")) == ""
    assert take(claim(operator.user, 0, model="precious")) == "RATE_LIMIT_EXCEEDED"
    assert take(claim(operator.user, 1000)) == ""


def test_jobs_at_once_are_counted(member: Caller) -> None:
    limit("user:the-user", concurrent_jobs=2)
    first, second = claim(member.user, 10), claim(member.user, 10)
    assert take(first) == take(second) == ""
    error = refusal(claim(member.user, 10))
    assert (error.code, error.details["used"]) == ("RATE_LIMIT_EXCEEDED", 2)
    assert error.retry_after
    settle([used(first, 1, 1)])
    assert take(claim(member.user, 10)) == ""


def test_yesterday_and_last_month_are_over(member: Caller) -> None:
    limit("user:the-user", daily_tokens=100, monthly_tokens=250)
    today = timezone.now().date()
    last_month = today.replace(day=1) - timedelta(days=1)
    for day in (last_month, today.replace(day=1)):
        UsageDay.objects.update_or_create(
            day=day, user=member.user, role_slug="user", model_slug=MODEL,
            defaults={"username": "the-user", "prompt_tokens": 90 if day == today else 200},
        )  # fmt: skip
    (balance,) = read_balances([account_of_user(member.user.pk)], today)
    is_first = today.day == 1
    assert balance.used_today == (90 if is_first else 0)
    assert balance.used_this_month == (90 if is_first else 200)


def test_a_period_ends_with_its_day_or_month_in_utc() -> None:
    moment = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    assert end_of_period("daily_tokens", moment) == datetime(2027, 1, 1, tzinfo=UTC)
    assert end_of_period("monthly_tokens", moment) == datetime(2027, 1, 1, tzinfo=UTC)
    moment = datetime(2028, 2, 1, 0, 0, tzinfo=UTC)
    assert end_of_period("pool_monthly_tokens", moment) == datetime(2028, 3, 1, tzinfo=UTC)


def test_without_a_limit_nothing_is_locked_or_summed(
    member: Caller, django_assert_num_queries: Any
) -> None:
    # A savepoint, the rows of limits, the reservation, the savepoint's end.
    assert member.user.role.slug
    with django_assert_num_queries(4):
        assert take(claim(member.user, 10)) == ""


def test_the_minute_of_tokens_is_counted_before_and_settled_after(
    member: Caller, redis_client: Any, django_capture_on_commit_callbacks: Callable[..., Any]
) -> None:
    limit("user:the-user", tokens_per_minute=100)
    first = claim(member.user, 80)
    quotas.reserve_minute(first)
    with pytest.raises(AppError, match=r"tokens_per_minute\) is 100") as raised:
        quotas.reserve_minute(claim(member.user, 30))
    assert raised.value.code == "RATE_LIMIT_EXCEEDED"
    assert raised.value.retry_after in range(1, 61)
    with django_capture_on_commit_callbacks(execute=True):
        settle([used(first, 10, 10)])
    quotas.reserve_minute(claim(member.user, 80))
    with pytest.raises(AppError):
        quotas.reserve_minute(claim(member.user, 1))


@pytest.mark.parametrize(("policy", "refused"), [("open", False), ("closed", True)])
def test_without_redis_the_minute_is_open_or_closed_as_configured(
    member: Caller, settings: Any, policy: str, refused: bool
) -> None:
    limit("user:the-user", tokens_per_minute=1)
    settings.REDIS_URL = "unix:///nowhere/at/all.sock"
    settings.LLAMA = replace(settings.LLAMA, limits_without_redis=policy)
    wanted = claim(member.user, 100)
    if refused:
        with pytest.raises(AppError) as raised:
            quotas.reserve_minute(wanted)
        assert raised.value.code == "BACKEND_UNAVAILABLE"
    else:
        quotas.reserve_minute(wanted)
    quotas.release_minute(wanted)


# ---------------------------------------------------------------- at once

_THREADS = 24


def at_once(act: Callable[[int], str]) -> Counter[str]:
    """What `_THREADS` real threads with connections of their own get, let go together."""
    gate = threading.Barrier(_THREADS)
    outcomes: list[str] = []

    def run(number: int) -> None:
        gate.wait()
        try:
            outcomes.append(act(number))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=[number]) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(outcomes)


@pytest.fixture
def real_rows(transactional_db: None, django_db_serialized_rollback: None) -> None:
    """Threads see each other's rows: no transaction of the test around them."""


def test_parallel_callers_never_overspend(real_rows: None, member: Caller) -> None:
    limit("user:the-user", daily_tokens=105)
    outcomes = at_once(lambda _: take(claim(member.user, 10)))
    assert outcomes == {"": 10, "QUOTA_EXCEEDED": _THREADS - 10}
    assert sum(TokenReservation.objects.values_list("tokens", flat=True)) == 100


def test_parallel_callers_of_one_pool_and_one_model_never_overspend(
    real_rows: None, member: Caller, operator: Caller
) -> None:
    other = User.objects.create_user("another", role=member.user.role)
    limit("role:user", pool_monthly_tokens=95)
    limit(f"model:{MODEL}", daily_tokens=130)
    people = [member.user, other, operator.user]
    at_once(lambda number: take(claim(people[number % 3], 10)))
    rows = TokenReservation.objects.all()
    assert sum(row.tokens for row in rows) == 130
    assert sum(row.tokens for row in rows if row.role_slug == "user") <= 90


def test_parallel_jobs_at_once_are_exact(real_rows: None, member: Caller) -> None:
    limit("user:the-user", concurrent_jobs=5)
    outcomes = at_once(lambda _: take(claim(member.user, 1)))
    assert outcomes == {"": 5, "RATE_LIMIT_EXCEEDED": _THREADS - 5}


def test_taking_and_settling_side_by_side_loses_no_token(real_rows: None, member: Caller) -> None:
    limit("user:the-user", daily_tokens=300)

    def act(_: int) -> str:
        granted = 0
        for _ in range(5):
            wanted = claim(member.user, 10)
            if take(wanted) == "":
                granted += 1
                with transaction.atomic():
                    settle([used(wanted, 4, 6)])
        return str(granted)

    outcomes = at_once(act)
    granted = sum(int(count) * times for count, times in outcomes.items())
    row = UsageDay.objects.get()
    assert granted == 30
    assert (row.requests, row.prompt_tokens, row.completion_tokens) == (30, 120, 180)
    assert not TokenReservation.objects.exists()
