from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import LimitPolicy, User
from accounts.services.api_keys import create_api_key
from monitoring.models import AuditLog
from tests.accounts.api.test_users import patch, row_of
from tests.conftest import Caller


def test_everybody_sees_who_they_are_and_what_they_may(guest: Caller) -> None:
    answer = guest.get("/api/me").json()
    assert answer["user"]["username"] == "the-guest"
    assert answer["user"]["role"] == "guest"
    assert answer["rights"]["models"] == "R"
    assert answer["rights"]["inference"] == ""
    assert answer["key"]["name"] == "test"
    assert guest.key not in str(answer)


def test_a_session_has_no_key(member: Caller) -> None:
    browser = Client()
    browser.force_login(member.user)
    assert browser.get("/api/me").json()["key"] is None


@pytest.mark.django_db
def test_a_stranger_has_to_sign_in() -> None:
    assert Client().get("/api/me").status_code == 401


def test_ones_own_address_and_names_can_be_changed(member: Caller) -> None:
    answer = patch(member, "/api/me", {"email": "me@example.org", "last_name": "Me"})
    assert answer.status_code == 200
    assert answer.json()["user"]["email"] == "me@example.org"
    assert User.objects.get(pk=member.user.pk).last_name == "Me"
    assert AuditLog.objects.get(action="user.changed").after["email"] == "me@example.org"


@pytest.mark.parametrize(
    "field",
    [
        "role", "is_staff", "is_superuser", "owner", "quota", "daily_tokens", "is_active", "username",
        "password", "session_epoch", "id", "api_keys", "permissions", "monthly_tokens", "limits",
    ],
)  # fmt: skip
def test_more_for_oneself_is_refused_by_name_noted_and_changes_nothing(
    redis_client: Any, member: Caller, field: str
) -> None:
    before = row_of(member)
    answer = patch(member, "/api/me", {"first_name": "Me", field: "admin"})
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert error["message"].startswith(f"{field}:")
    assert [problem["field"] for problem in error["details"]] == [field]
    assert row_of(member) == before
    assert not LimitPolicy.objects.exists()
    refusal = AuditLog.objects.get(action="access.refused")
    assert (refusal.actor_name, refusal.outcome) == ("the-user", "refused")
    assert field in refusal.data["reason"]


def test_an_admin_gives_themselves_nothing_either(redis_client: Any, admin: Caller) -> None:
    assert patch(admin, "/api/me", {"role": "user"}).status_code == 403


def test_an_unknown_field_is_refused_by_name(member: Caller) -> None:
    answer = patch(member, "/api/me", {"nickname": "x"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("nickname:")


@pytest.mark.parametrize("body", [[], "x", 5, None, {"email": 5}, {"email": "x" * 300}])
def test_a_body_of_another_form_is_refused(member: Caller, body: Any) -> None:
    assert patch(member, "/api/me", body).status_code == 400


def test_a_narrow_key_reads_its_owner_and_changes_nothing(
    redis_client: Any, member: Caller
) -> None:
    _, key = create_api_key(actor=None, user=member.user, name="narrow", scopes=["infer"])
    narrow = Caller(member.user, str(key))
    assert narrow.get("/api/me").json()["key"]["scopes"] == ["infer"]
    assert patch(narrow, "/api/me", {"email": "mine@example.org"}).status_code == 403
    assert User.objects.get(pk=member.user.pk).email == ""


def test_a_session_needs_the_forms_token(member: Caller) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(member.user)
    answer = browser.patch("/api/me", {"first_name": "x"}, content_type="application/json")
    assert answer.status_code == 403
    assert User.objects.get(pk=member.user.pk).first_name == ""
