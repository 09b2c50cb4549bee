from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.api_keys import parse_key
from accounts.models import ApiKey
from accounts.services.api_keys import create_api_key
from accounts.services.key_authentication import find_key
from tests.conftest import Caller

FUTURE = "2999-01-01T00:00:00Z"


def send(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return Client().generic(
        method,
        path,
        data=json.dumps(body) if body is not None else "",
        content_type="application/json",
        headers=caller.headers,
    )


def prefix_of(caller: Caller) -> str:
    return caller.key.split("_")[1]


def narrow(caller: Caller, **settings: Any) -> Caller:
    _, text = create_api_key(actor=None, user=caller.user, name="narrow", **settings)
    return Caller(caller.user, str(text))


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_new_key_is_shown_once_and_works(member: Caller) -> None:
    response = send(
        member,
        "POST",
        "/api/keys",
        {
            "name": "ci",
            "scopes": ["infer"],
            "allowed_models": ["smollm2-135m-instruct"],
            "allowed_ips": ["127.0.0.1"],
            "expires_at": FUTURE,
        },
    )
    body = response.json()
    assert response.status_code == 201
    assert response["Cache-Control"] == "no-store"
    key = find_key(body["key"])
    assert key is not None
    assert body["api_key"] == {
        "id": key.pk,
        "prefix": key.prefix,
        "name": "ci",
        "user": "the-user",
        "state": "usable",
        "scopes": ["infer"],
        "allowed_models": ["smollm2-135m-instruct"],
        "allowed_ips": ["127.0.0.1"],
        "retention": None,
        "created_at": body["api_key"]["created_at"],
        "expires_at": FUTURE,
        "revoked_at": None,
        "last_used_at": None,
        "replaces": None,
        "replaced_by": None,
    }
    secret = body["key"].split("_")[2]
    assert secret not in send(member, "GET", f"/api/keys/{key.prefix}").content.decode()
    assert secret not in send(member, "GET", "/api/keys").content.decode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a\x00b"}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "n", "scopes": "infer"}, "scopes"),
        ({"name": "n", "scopes": [5]}, "scopes"),
        ({"name": "n", "scopes": ["all"]}, "scopes"),
        ({"name": "n", "scopes": ["admin"]}, "scopes"),
        ({"name": "n", "allowed_models": ["A B"]}, "allowed_models"),
        ({"name": "n", "allowed_models": ["m"] * 65}, "allowed_models"),
        ({"name": "n", "allowed_ips": ["localhost"]}, "allowed_ips"),
        ({"name": "n", "expires_at": "2000-01-01T00:00:00Z"}, "expires_at"),
        ({"name": "n", "expires_at": "soon"}, "expires_at"),
        ({"name": "n", "expires_at": 5}, "expires_at"),
        ({"name": "n", "expires_at": "9999-12-31T23:59:59-14:00"}, "expires_at"),
        ({"name": "n", "digest": "0"}, "digest"),
        ({"name": "n", "prefix": "abcdefgh"}, "prefix"),
        ({"name": "n", "last_used_at": None}, "last_used_at"),
    ],
    ids=str,
)
def test_a_bad_field_is_named_and_nothing_is_made(
    member: Caller, body: dict[str, Any], field: str
) -> None:
    response = send(member, "POST", "/api/keys", body)
    assert error_of(response) == (400, "INVALID_INPUT")
    assert response.json()["error"]["message"].startswith(field)
    assert ApiKey.objects.count() == 1


def test_a_list_shows_ones_own_keys_in_pages(member: Caller, admin: Caller) -> None:
    for number in range(3):
        create_api_key(actor=None, user=member.user, name=str(number))
    first = send(member, "GET", "/api/keys?limit=2").json()
    assert [key["name"] for key in first["results"]] == ["2", "1"]
    second = send(member, "GET", first["next"]).json()
    assert [key["name"] for key in second["results"]] == ["0", "test"]
    assert second["next"] is None


def test_a_list_takes_the_same_queries_however_long(member: Caller) -> None:
    def num_queries() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert member.get("/api/keys").status_code == 200
        return len(queries)

    num_queries()  # notes the key's use
    before = num_queries()
    for number in range(10):
        create_api_key(actor=None, user=member.user, name=str(number))
    assert num_queries() == before


def test_an_admin_finds_the_keys_of_everybody(member: Caller, admin: Caller) -> None:
    def owners(query: str, caller: Caller = admin) -> list[str]:
        return [key["user"] for key in caller.get(f"/api/keys{query}").json()["results"]]

    assert owners("") == ["the-admin"]
    assert owners("?user=*") == ["the-admin", "the-user"]
    assert owners("?user=the-user") == ["the-user"]
    assert owners("?user=nobody") == []
    assert owners("?user=*", member) == ["the-user"]
    assert owners("?user=the-admin", member) == []


def test_a_list_can_be_filtered_by_state(member: Caller) -> None:
    now = timezone.now()
    for state, changes in (
        ("revoked", {"revoked_at": now}),
        ("expired", {"expires_at": now - timedelta(seconds=1)}),
    ):
        key, _ = create_api_key(actor=None, user=member.user, name=state)
        ApiKey.objects.filter(pk=key.pk).update(**changes)
        rows = member.get(f"/api/keys?state={state}").json()["results"]
        assert [(row["name"], row["state"]) for row in rows] == [(state, state)]
    assert [row["name"] for row in member.get("/api/keys?state=usable").json()["results"]] == [
        "test"
    ]
    assert error_of(member.get("/api/keys?state=odd")) == (400, "INVALID_INPUT")
    assert error_of(member.get("/api/keys?colour=red")) == (400, "INVALID_INPUT")


@pytest.mark.parametrize("by", ["prefix", "id"])
def test_a_key_is_found_by_prefix_and_by_id(member: Caller, by: str) -> None:
    reference = prefix_of(member) if by == "prefix" else ApiKey.objects.get().pk
    body = send(member, "GET", f"/api/keys/{reference}").json()
    assert body["api_key"]["prefix"] == prefix_of(member)


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"name": "mine now"}),
        ("DELETE", "", None),
        ("POST", "/rotate", {}),
    ],
)
def test_anothers_key_answers_as_a_missing_one(
    member: Caller, operator: Caller, method: str, suffix: str, body: Any
) -> None:
    before = ApiKey.objects.values().get(user=member.user)
    bodies = set()
    for reference in (prefix_of(member), before["id"], "AAAAAAAA", 99_999, 10**30, "%00", "é"):
        response = send(operator, method, f"/api/keys/{reference}{suffix}", body)
        assert error_of(response) == (404, "NOT_FOUND"), reference
        bodies.add(json.dumps(response.json()["error"]))
    assert len(bodies) == 1
    assert ApiKey.objects.values().get(user=member.user) == before


def test_a_key_is_changed_by_what_the_body_names(member: Caller) -> None:
    path = f"/api/keys/{prefix_of(member)}"
    body = send(member, "PATCH", path, {"name": "new", "expires_at": FUTURE}).json()["api_key"]
    assert (body["name"], body["expires_at"], body["scopes"]) == ("new", FUTURE, [])
    other = narrow(member)
    body = send(other, "PATCH", path, {"expires_at": None}).json()["api_key"]
    assert (body["name"], body["expires_at"]) == ("new", None)
    assert error_of(send(member, "PATCH", path, {"user": "x"})) == (400, "INVALID_INPUT")
    assert error_of(send(member, "PATCH", path, {"scopes": ["audit"]})) == (400, "INVALID_INPUT")


def test_a_key_does_not_lengthen_its_own_life(member: Caller) -> None:
    path = f"/api/keys/{prefix_of(member)}"
    assert send(member, "PATCH", path, {"expires_at": FUTURE}).status_code == 200
    refused = send(member, "PATCH", path, {"expires_at": None})
    assert error_of(refused) == (403, "PERMISSION_DENIED")


def test_rotation_shows_the_new_key_once(member: Caller) -> None:
    response = send(member, "POST", f"/api/keys/{prefix_of(member)}/rotate", {"grace_seconds": 60})
    body = response.json()
    assert response.status_code == 201
    assert response["Cache-Control"] == "no-store"
    assert parse_key(body["key"]) is not None
    assert body["api_key"]["replaces"] == prefix_of(member)
    old = send(member, "GET", f"/api/keys/{prefix_of(member)}").json()["api_key"]
    assert old["replaced_by"] == body["api_key"]["prefix"]
    assert old["state"] == "usable"
    again = send(member, "POST", f"/api/keys/{prefix_of(member)}/rotate", {})
    assert error_of(again) == (409, "CONFLICT")


@pytest.mark.parametrize("body", [{"grace_seconds": -1}, {"grace_seconds": 10**9}, {"grace": 1}])
def test_a_wrong_grace_is_refused(member: Caller, body: dict[str, int]) -> None:
    response = send(member, "POST", f"/api/keys/{prefix_of(member)}/rotate", body)
    assert error_of(response) == (400, "INVALID_INPUT")


def test_revoking_is_the_same_however_often(member: Caller, admin: Caller) -> None:
    path = f"/api/keys/{prefix_of(member)}"
    first, second = send(admin, "DELETE", path), send(admin, "DELETE", path)
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.json()["api_key"] == second.json()["api_key"]
    assert first.json()["api_key"]["state"] == "revoked"
    assert error_of(member.get("/api/keys")) == (401, "AUTHENTICATION_FAILED")


def test_a_key_may_revoke_itself(member: Caller) -> None:
    assert send(member, "DELETE", f"/api/keys/{prefix_of(member)}").status_code == 200
    assert member.get("/api/keys").status_code == 401


def test_only_an_admin_makes_keys_for_others(
    member: Caller, operator: Caller, admin: Caller
) -> None:
    body = {"name": "n", "user": "the-user"}
    made = send(admin, "POST", "/api/keys", body)
    assert made.json()["api_key"]["user"] == "the-user"
    assert send(member, "POST", "/api/keys", body).status_code == 201
    answers = [
        send(operator, "POST", "/api/keys", {"name": "n", "user": name})
        for name in ("the-user", "nobody")
    ]
    assert {error_of(answer) for answer in answers} == {(403, "PERMISSION_DENIED")}
    assert len({json.dumps(answer.json()["error"]) for answer in answers}) == 1
    missing = send(admin, "POST", "/api/keys", {"name": "n", "user": "nobody"})
    assert error_of(missing) == (400, "INVALID_INPUT")


def test_a_key_for_another_has_no_scope_above_its_owner(member: Caller, admin: Caller) -> None:
    body = {"name": "n", "user": "the-user", "scopes": ["admin"]}
    assert error_of(send(admin, "POST", "/api/keys", body)) == (400, "INVALID_INPUT")


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_key_with_scopes_but_not_admin_manages_no_keys(member: Caller, method: str) -> None:
    caller = narrow(member, scopes=["infer", "models:read"])
    assert error_of(send(caller, method, "/api/keys", {"name": "n"})) == (403, "PERMISSION_DENIED")


def test_a_key_with_the_admin_scope_manages_keys(admin: Caller) -> None:
    caller = narrow(admin, scopes=["admin"])
    assert send(caller, "POST", "/api/keys", {"name": "n"}).status_code == 201


def test_an_operators_key_makes_none_wider_than_itself(operator: Caller) -> None:
    caller = narrow(operator, scopes=["admin"])
    wider = send(caller, "POST", "/api/keys", {"name": "n", "scopes": ["models:write"]})
    assert error_of(wider) == (403, "PERMISSION_DENIED")
    assert send(caller, "POST", "/api/keys", {"name": "n", "scopes": ["admin"]}).status_code == 201


def test_a_session_needs_its_csrf_token(member: Caller) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(member.user)
    assert client.get("/api/keys").status_code == 200
    response = client.post("/api/keys", {"name": "n"}, content_type="application/json")
    assert error_of(response) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("path", ["/api/keys", "/api/keys/1", "/api/v1/keys"])
@pytest.mark.django_db
def test_nobody_manages_no_keys(path: str) -> None:
    assert error_of(Client().get(path)) == (401, "AUTHENTICATION_FAILED")


def test_the_owners_role_decides_whatever_the_scopes_say(operator: Caller) -> None:
    from accounts.models import Role

    caller = narrow(operator, scopes=["infer", "models:read", "models:write"])
    operator.user.role = Role.objects.get(slug="guest")
    operator.user.save()
    assert error_of(send(caller, "POST", "/api/infer", {"text": "hi"})) == (
        403,
        "PERMISSION_DENIED",
    )
    assert caller.get("/api/models").status_code == 200
