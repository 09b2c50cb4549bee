"""Limits over the API: those that hold for the caller, those that Admins set."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from accounts.models import LimitPolicy
from accounts.services.api_keys import create_api_key
from accounts.services.limits import set_limits
from accounts.services.metering import settle
from monitoring.audit_actions import AuditAction
from monitoring.models import AuditLog
from tests.accounts.counters import hold_the_minute
from tests.accounts.test_quotas import claim, take, used
from tests.conftest import Caller


def put(caller: Caller, subject: str, body: Any) -> Any:
    return Client().put(
        f"/api/limits/{subject}",
        data=json.dumps(body),
        content_type="application/json",
        headers=caller.headers,
    )


def own(caller: Caller) -> dict[tuple[str, str], dict[str, Any]]:
    answer = caller.get("/api/me/limits")
    assert answer.status_code == 200
    return {(row["limit"], row["subject"]): row for row in answer.json()["limits"]}


def test_everybody_sees_their_limits_and_where_they_come_from(
    member: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_the_minute(monkeypatch)
    set_limits(actor=None, subject="role:user", daily_tokens=1000, pool_daily_tokens=5000)
    set_limits(actor=None, subject="user:the-user", concurrent_jobs=3, tokens_per_minute=500)
    job = claim(member.user, 100)
    take(job)
    take(claim(member.user, 50))
    settle([used(job, 20, 10)])
    found = own(member)
    daily = found["daily_tokens", "user"]
    assert daily | {"resets_at": ""} == {
        "limit": "daily_tokens",
        "subject": "user",
        "source": "role",
        "value": 1000,
        "used": 30,
        "reserved": 50,
        "remaining": 920,
        "resets_at": "",
    }
    assert daily["resets_at"].endswith("T00:00:00+00:00")
    assert found["pool_daily_tokens", "role"]["remaining"] == 4920
    assert found["concurrent_jobs", "user"] == {
        "limit": "concurrent_jobs",
        "subject": "user",
        "source": "user",
        "value": 3,
        "used": 1,
        "reserved": 0,
        "remaining": 2,
        "resets_at": None,
    }
    assert found["tokens_per_minute", "user"]["used"] == 0
    monthly = found["monthly_tokens", "user"]
    assert (monthly["source"], monthly["value"], monthly["remaining"]) == (
        "configuration",
        -1,
        None,
    )
    rate = found["system_per_minute", "user"]
    assert (rate["value"], rate["used"], rate["remaining"]) == (300, 1, 299)
    assert found["inference_per_minute", "user"]["used"] == 0


def test_a_key_sees_its_own_limits_too(member: Caller, redis_client: Any) -> None:
    key, text = create_api_key(actor=None, user=member.user, name="narrow")
    set_limits(actor=None, subject=f"key:{key.prefix}", daily_tokens=10, inference_per_minute=5)
    found = own(Caller(member.user, str(text)))
    assert found["daily_tokens", "key"]["remaining"] == 10
    assert found["inference_per_minute", "key"]["value"] == 5
    assert ("daily_tokens", "key") not in own(member)


def test_without_redis_limits_are_shown_and_counts_unknown(member: Caller, settings: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere/at/all.sock"
    settings.CACHES = {
        name: {**cache, "LOCATION": settings.REDIS_URL} for name, cache in settings.CACHES.items()
    }
    set_limits(actor=None, subject="user:the-user", tokens_per_minute=500)
    found = own(member)
    for name in ("system_per_minute", "tokens_per_minute"):
        assert found[name, "user"]["used"] is None
        assert found[name, "user"]["remaining"] is None


def test_an_admin_sets_limits_and_the_log_tells(admin: Caller, member: Caller) -> None:
    answer = put(admin, "user:the-user", {"daily_tokens": 500, "inference_per_minute": -1})
    assert answer.status_code == 200
    body = answer.json()
    assert body["subject"] == "user:the-user"
    assert body["limits"]["daily_tokens"] == 500
    assert body["limits"]["monthly_tokens"] is None
    row = AuditLog.objects.get(action=AuditAction.LIMITS_CHANGED)
    assert row.actor_name == "the-admin"
    assert row.before == {"daily_tokens": None, "inference_per_minute": None}
    assert row.after == {"daily_tokens": 500, "inference_per_minute": -1}
    assert row.data == {"subject": "user:the-user"}
    assert admin.get("/api/limits/user:the-user").json() == body


def test_what_is_left_out_is_inherited_again(admin: Caller, member: Caller) -> None:
    put(admin, "user:the-user", {"daily_tokens": 500, "monthly_tokens": 900})
    limits = put(admin, "user:the-user", {"monthly_tokens": 900}).json()["limits"]
    assert (limits["daily_tokens"], limits["monthly_tokens"]) == (None, 900)


def test_the_same_again_changes_nothing(admin: Caller, member: Caller) -> None:
    for _ in range(2):
        put(admin, "role:user", {"pool_daily_tokens": 0})
    assert AuditLog.objects.filter(action=AuditAction.LIMITS_CHANGED).count() == 1


def test_all_kinds_of_subjects(admin: Caller, member: Caller) -> None:
    for subject in ("role:guest", "user:the-user", f"key:{member.key[3:11]}", "model:org/any@1"):
        assert put(admin, subject, {"daily_tokens": 1}).status_code == 200, subject
    listed = admin.get("/api/limits?limit=3").json()
    assert listed["results"][0]["subject"] == "model:org/any@1"
    assert len(listed["results"]) == 3
    assert listed["next"]
    assert listed["results"][0]["limits"]["daily_tokens"] == 1


@pytest.mark.parametrize(
    ("subject", "body", "named"),
    [
        ("user:the-user", {"daily_tokens": "5"}, "daily_tokens"),
        ("user:the-user", {"daily_tokens": -2}, "daily_tokens"),
        ("user:the-user", {"daily_tokens": 10**15 + 1}, "daily_tokens"),
        ("user:the-user", {"daily_tokens": True}, "daily_tokens"),
        ("user:the-user", {"daily_tokens": 1.5}, "daily_tokens"),
        ("user:the-user", {"colour": 1}, "colour"),
        ("user:the-user", {"role": "admin"}, "role"),
        ("user:the-user", {"pool_daily_tokens": 1}, "pool_daily_tokens"),
        ("model:m", {"inference_per_minute": 1}, "inference_per_minute"),
    ],
)
def test_what_is_no_limit_is_refused_by_name(
    admin: Caller, member: Caller, subject: str, body: Any, named: str
) -> None:
    answer = put(admin, subject, body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(f"{named}:")
    assert not LimitPolicy.objects.exists()


@pytest.mark.parametrize(
    "subject",
    ["user:nobody", "role:king", "key:zzzzzzzz", "model:", "planet:mars", "user", "user:a%00b",
     f"model:{'x' * 129}", "user:the-user/"],
)  # fmt: skip
def test_a_subject_that_is_not_there_is_not_found(
    admin: Caller, member: Caller, subject: str
) -> None:
    assert admin.get(f"/api/limits/{subject}").status_code == 404
    assert put(admin, subject, {"daily_tokens": 1}).status_code == 404


def test_operators_read_and_do_not_write(operator: Caller, member: Caller) -> None:
    assert operator.get("/api/limits").status_code == 200
    assert operator.get("/api/limits/user:the-user").json()["limits"]["daily_tokens"] is None
    assert put(operator, "user:the-user", {"daily_tokens": 1}).status_code == 403
    assert not LimitPolicy.objects.exists()


def test_members_neither_read_nor_write(member: Caller) -> None:
    assert member.get("/api/limits").status_code == 403
    assert member.get("/api/limits/user:the-user").status_code == 403
    assert put(member, "user:the-user", {"daily_tokens": -1}).status_code == 403
    assert not LimitPolicy.objects.exists()


def test_a_list_of_limits_costs_the_same_few_queries(
    admin: Caller, member: Caller, operator: Caller, django_assert_max_num_queries: Any
) -> None:
    for subject in ("user:the-user", "user:the-operator", "role:user", "role:guest", "model:m"):
        set_limits(actor=None, subject=subject, daily_tokens=5)
    with django_assert_max_num_queries(8):
        assert len(admin.get("/api/limits").json()["results"]) == 5
