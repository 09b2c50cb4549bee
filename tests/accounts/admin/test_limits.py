from __future__ import annotations

from typing import Any

from django.test import Client
from django.urls import reverse

from accounts.limit_subjects import LIMIT_NAMES
from accounts.models import LimitPolicy, Role
from accounts.services.limits import set_limits
from monitoring.models import AuditLog
from tests.accounts.admin.conftest import browser_of
from tests.conftest import Caller

ADD = "admin:accounts_limitpolicy_add"


def form(**values: Any) -> dict[str, Any]:
    empty = dict.fromkeys(("role", "user", "api_key", "model_slug", *LIMIT_NAMES), "")
    return empty | values


def page(policy: LimitPolicy) -> str:
    return reverse("admin:accounts_limitpolicy_change", args=[policy.pk])


def test_limits_are_set_by_the_service(boss: Client) -> None:
    role = Role.objects.get(slug="user")
    answer = boss.post(reverse(ADD), form(role=role.pk, inference_per_minute="5"))
    assert answer.status_code == 302
    policy = LimitPolicy.objects.get(role=role)
    assert policy.inference_per_minute == 5
    assert policy.daily_tokens is None
    assert AuditLog.objects.get(action="limits.changed").after == {"inference_per_minute": 5}
    assert boss.post(page(policy), form(daily_tokens="7")).status_code == 302
    policy.refresh_from_db()
    assert (policy.inference_per_minute, policy.daily_tokens) == (None, 7)


def test_limits_are_of_exactly_one_subject(boss: Client, member: Caller) -> None:
    role = Role.objects.get(slug="user")
    for subjects in ({}, {"role": role.pk, "user": member.user.pk}):
        answer = boss.post(reverse(ADD), form(**subjects, daily_tokens="7"))
        assert "Choose exactly one" in answer.content.decode()
    assert not LimitPolicy.objects.exists()


def test_a_limit_that_cannot_be_is_refused_on_the_page(boss: Client) -> None:
    for values in (
        {"model_slug": "some-model", "inference_per_minute": "5"},
        {"model_slug": "some-model", "daily_tokens": "-2"},
    ):
        answer = boss.post(reverse(ADD), form(**values))
        assert answer.status_code == 200
        assert 'class="errornote"' in answer.content.decode()
    assert not LimitPolicy.objects.exists()


def test_an_operator_looks_at_limits_alone(operator: Caller) -> None:
    policy = set_limits(actor=None, subject="role:user", daily_tokens=7)
    browser = browser_of(operator)
    assert browser.get(page(policy)).status_code == 200
    assert browser.post(page(policy), form(daily_tokens="8")).status_code == 403
