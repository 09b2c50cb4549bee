"""How much of a quota is used, as alerts watch it: by number, never by name."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import UsageDay, User
from accounts.quota_values import _read, used_ratios
from accounts.services.limits import set_limits
from monitoring.metrics.reading import Snapshot
from tests.conftest import Caller

pytestmark = pytest.mark.django_db


def used(user: User, tokens: int, days_ago: int = 0) -> None:
    day = timezone.now().date() - timedelta(days=days_ago)
    facts = {"username": user.username, "role_slug": "user", "model_slug": f"m{days_ago}"}
    UsageDay.objects.create(day=day, user=user, prompt_tokens=tokens, **facts)


def test_nobody_is_limited_and_nothing_is_read(member: Caller) -> None:
    used(member.user, 1000)
    assert _read(Snapshot(at=0)) == {}


def test_a_user_is_told_by_number_for_each_limit(member: Caller, admin: Caller) -> None:
    used(member.user, 800)
    used(admin.user, 10_000)
    set_limits(actor=None, subject="user:the-user", daily_tokens=1000, monthly_tokens=4000)
    number = str(member.user.pk)
    assert _read(Snapshot(at=0)) == {
        ("daily_tokens", number): 0.8,
        ("monthly_tokens", number): 0.2,
    }


def test_what_was_used_last_month_does_not_count(member: Caller) -> None:
    used(member.user, 100, days_ago=40)
    set_limits(actor=None, subject="user:the-user", monthly_tokens=1000)
    assert used_ratios() == {}
