"""How a request carries a key, and what it is told where the key does not open."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts import failed_attempts
from accounts.api_keys import generate_key
from accounts.models import ApiKey
from monitoring.models import AuditLog
from tests.conftest import Caller

PATH = "/api/models"


def call(**headers: str) -> Any:
    return Client().get(PATH, headers={name.replace("_", "-"): v for name, v in headers.items()})


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


REFUSED = (401, "AUTHENTICATION_FAILED")


@pytest.mark.parametrize(
    "form", ["Bearer {}", "bearer {}", "BEARER  {} ", "Bearer\t{}", "  Bearer {}"]
)
def test_the_bearer_is_read_generously(member: Caller, form: str) -> None:
    assert call(Authorization=form.format(member.key)).status_code == 200


def test_both_headers_may_carry_the_same_key(member: Caller) -> None:
    both = {"Authorization": f"Bearer {member.key}", "X_API_Key": member.key}
    assert call(**both).status_code == 200


def test_two_different_keys_are_refused(member: Caller, admin: Caller) -> None:
    both = {"Authorization": f"Bearer {member.key}", "X_API_Key": admin.key}
    assert error_of(call(**both)) == REFUSED


@pytest.mark.parametrize(
    "value",
    [
        "Bearer",
        "Bearer ",
        "Bearer {0},Bearer {0}",
        "Bearer {0}, Bearer {0}",
        "Bearer {0} {0}",
        "{0}",
        "Bearer é{0}",
        "Bearer \x00",
        "Bearer " + "A" * 1_000_000,
        "Bearer lg_" + "_" * 100_000,
    ],
    ids=range(10),
)
def test_an_odd_header_is_refused_and_never_falls_back_to_the_session(
    admin: Caller, value: str
) -> None:
    client = Client()
    client.force_login(admin.user)
    response = client.get(PATH, headers={"Authorization": value.format(admin.key)})
    assert error_of(response) == REFUSED
    assert response["WWW-Authenticate"] == 'Bearer realm="llamagpu"'


def test_an_empty_x_api_key_is_refused_too(admin: Caller) -> None:
    client = Client()
    client.force_login(admin.user)
    assert error_of(client.get(PATH, headers={"X-API-Key": ""})) == REFUSED


def test_another_scheme_is_no_key(admin: Caller) -> None:
    client = Client()
    client.force_login(admin.user)
    response = client.get(PATH, headers={"Authorization": "Basic dXNlcjpwYXNz"})
    assert response.status_code == 200


@pytest.mark.parametrize("query", ["api_key=x", "access_token=x", "q=lg_abc", "a=1&q=lg_a&q=b"])
def test_a_key_in_the_address_is_refused_beside_a_right_one(member: Caller, query: str) -> None:
    assert error_of(member.get(f"{PATH}?{query}")) == REFUSED


def test_unknown_wrong_and_revoked_keys_read_alike(member: Caller) -> None:
    unknown = call(X_API_Key=str(generate_key())).json()
    ApiKey.objects.update(revoked_at="2026-01-01T00:00:00Z")
    revoked = call(X_API_Key=member.key).json()
    assert unknown["error"] == revoked["error"]


def test_a_right_key_from_elsewhere_is_forbidden_and_audited(member: Caller) -> None:
    ApiKey.objects.update(allowed_ips=["10.0.0.0/8"])
    response = member.get(PATH)
    assert error_of(response) == (403, "PERMISSION_DENIED")
    assert "127.0.0.1" in response.json()["error"]["message"]
    row = AuditLog.objects.get(action="access.refused")
    assert (row.actor_name, row.outcome, row.ip) == ("the-user", "refused", "127.0.0.1")
    assert row.key_prefix == member.key.split("_")[1]


def test_too_many_refused_keys_are_answered_with_a_wait(
    member: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 3)
    for _ in range(3):
        assert error_of(call(X_API_Key=str(generate_key()))) == REFUSED
    response = member.get(PATH)
    assert error_of(response) == (429, "RATE_LIMIT_EXCEEDED")
    assert 1 <= int(response["Retry-After"]) <= failed_attempts.WINDOW + 1


def test_a_session_works_where_keys_have_to_wait(
    admin: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 1)
    call(X_API_Key="wrong")
    client = Client()
    client.force_login(admin.user)
    assert client.get(PATH).status_code == 200


def test_the_forwarded_address_of_a_stranger_changes_nothing(
    member: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 2)
    for number in range(2):
        call(X_API_Key="wrong", X_Forwarded_For=f"192.0.2.{number}")
    assert error_of(call(X_API_Key=member.key, X_Forwarded_For="192.0.2.9"))[0] == 429


def test_audit_rows_of_a_call_carry_its_key(member: Caller) -> None:
    response = member.post("/api/keys", {"name": "second"})
    assert response.status_code == 201
    row = AuditLog.objects.filter(action="api_key.created").last()
    assert row is not None
    assert row.key_prefix == member.key.split("_")[1]


def test_a_refused_key_is_told_how_many_more_are_looked_at(
    member: Caller, monkeypatch: pytest.MonkeyPatch, redis_client: Any
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_FAILURES", 2)
    wrong = f"Bearer {generate_key()}"
    answers = [call(Authorization=wrong) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [401, 401, 429]
    assert [answer["X-RateLimit-Limit"] for answer in answers] == ["2"] * 3
    assert [answer["X-RateLimit-Remaining"] for answer in answers] == ["1", "0", "0"]
    assert all(0 < int(answer["X-RateLimit-Reset"]) <= 60 for answer in answers)


def test_a_key_in_the_address_is_told_the_same_limit(member: Caller, redis_client: Any) -> None:
    answer = Client().get(f"{PATH}?token={member.key}")
    assert (answer.status_code, answer["X-RateLimit-Limit"]) == (401, "1000000")
