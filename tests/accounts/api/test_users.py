from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from accounts.services.api_keys import create_api_key
from accounts.services.users import create_user
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

OTHER = "battery staple correct horse"


def patch(caller: Caller, path: str, body: Any) -> Any:
    return Client().patch(path, data=body, content_type="application/json", headers=caller.headers)


def delete(caller: Caller, path: str) -> Any:
    return Client().delete(path, headers=caller.headers)


def address(caller: Caller) -> str:
    return f"/api/users/{caller.user.pk}"


def test_an_admin_makes_a_user(admin: Caller) -> None:
    body = {"username": "new", "password": PASSWORD, "role": "operator", "email": "n@example.org"}
    answer = admin.post("/api/users", body)
    assert answer.status_code == 201
    shown = answer.json()["user"]
    assert (shown["username"], shown["role"], shown["is_active"]) == ("new", "operator", True)
    assert "password" not in str(shown)
    user = User.objects.get(pk=shown["id"])
    assert user.check_password(PASSWORD)
    assert AuditLog.objects.get(action="user.created", target_id=str(user.pk)).actor == admin.user


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"role": "king"}, 400, "role"),
        ({"password": "abc"}, 400, "password"),
        ({"username": "two words"}, 400, "username"),
        ({"username": "the-admin"}, 409, "username"),
        ({"email": "nowhere"}, 400, "email"),
        ({"is_staff": True}, 400, "is_staff"),
        ({"is_superuser": True}, 400, "is_superuser"),
        ({"username": 5}, 400, "username"),
        ({"username": "a\0b"}, 400, "username"),
    ],
)
def test_a_user_that_cannot_be_is_refused_by_name(
    admin: Caller, change: dict[str, Any], status: int, field: str
) -> None:
    body = {"username": "new", "password": PASSWORD, "role": "user"} | change
    answer = admin.post("/api/users", body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(f"{field}:")
    assert User.objects.count() == 1


def test_an_operator_reads_users_and_changes_none(operator: Caller, member: Caller) -> None:
    assert operator.get("/api/users").status_code == 200
    assert operator.get(address(member)).json()["user"]["username"] == "the-user"
    body = {"username": "new", "password": PASSWORD, "role": "guest"}
    assert operator.post("/api/users", body).status_code == 403
    assert patch(operator, address(member), {"role": "guest"}).status_code == 403
    assert delete(operator, address(member)).status_code == 403
    assert User.objects.get(pk=member.user.pk).role.slug == "user"


@pytest.mark.parametrize(
    "body",
    [
        {"role": "admin"},
        {"is_staff": True},
        {"is_superuser": True},
        {"owner": 1},
        {"daily_tokens": -1},
        {"email": "me@example.org"},
    ],
)
def test_a_members_change_at_users_is_refused_noted_and_changes_nothing(
    redis_client: Any, member: Caller, body: dict[str, Any]
) -> None:
    before = row_of(member)
    answer = patch(member, address(member), body)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "PERMISSION_DENIED"
    assert row_of(member) == before
    refusal = AuditLog.objects.get(action="access.refused")
    assert refusal.outcome == "refused"
    assert refusal.actor_name == "the-user"
    assert refusal.data["route"] == "api/users/<int:pk>"


def test_pages_and_filters(admin: Caller, operator: Caller, member: Caller) -> None:
    def names(query: str) -> list[str]:
        return [user["username"] for user in admin.get(f"/api/users{query}").json()["results"]]

    assert names("") == ["the-admin", "the-operator", "the-user"]
    assert names("?role=operator") == ["the-operator"]
    assert names("?q=OPER") == ["the-operator"]
    assert names("?is_active=false") == []
    assert names("?limit=1") == ["the-admin"]
    following = admin.get("/api/users?limit=2").json()["next"]
    assert [user["username"] for user in admin.get(following).json()["results"]] == ["the-user"]
    wrong = admin.get("/api/users?rolle=x")
    assert wrong.status_code == 400
    assert wrong.json()["error"]["message"].startswith("rolle:")


def test_the_list_takes_as_many_queries_for_one_user_as_for_many(
    admin: Caller, django_assert_max_num_queries: Any
) -> None:
    for number in range(5):
        create_user(actor=None, username=f"n{number}", password=PASSWORD, role="guest")
    admin.get("/api/users")
    with django_assert_max_num_queries(6):
        admin.get("/api/users")


def test_an_admin_changes_and_deletes_a_user(admin: Caller, member: Caller) -> None:
    body = {"role": "guest", "first_name": "Ada", "password": OTHER, "is_active": False}
    answer = patch(admin, address(member), body)
    assert answer.status_code == 200
    assert answer.json()["user"]["role"] == "guest"
    user = User.objects.get(pk=member.user.pk)
    assert (user.first_name, user.is_active, user.check_password(OTHER)) == ("Ada", False, True)
    assert delete(admin, address(member)).status_code == 204
    assert admin.get(address(member)).status_code == 404


def test_a_change_that_is_refused_in_part_changes_nothing(admin: Caller, member: Caller) -> None:
    answer = patch(admin, address(member), {"role": "guest", "password": "abc"})
    assert answer.status_code == 400
    assert User.objects.get(pk=member.user.pk).role.slug == "user"


def test_the_last_admin_stays(admin: Caller) -> None:
    other = create_user(actor=None, username="other", password=PASSWORD, role="admin")
    _, key = create_api_key(actor=None, user=other, name="x")
    assert delete(Caller(other, str(key)), address(admin)).status_code == 204
    answer = patch(Caller(other, str(key)), f"/api/users/{other.pk}", {"role": "user"})
    assert answer.status_code == 409


@pytest.mark.parametrize("pk", ["999999", "9" * 40])
def test_a_missing_user_is_not_found(admin: Caller, pk: str) -> None:
    for answer in (
        admin.get(f"/api/users/{pk}"),
        patch(admin, f"/api/users/{pk}", {}),
        delete(admin, f"/api/users/{pk}"),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "NOT_FOUND"


def test_a_key_needs_the_admin_scope(admin: Caller) -> None:
    for scopes, status in ((["infer"], 403), (["admin"], 200), ([], 200)):
        _, key = create_api_key(actor=None, user=admin.user, name="x", scopes=scopes)
        assert Caller(admin.user, str(key)).get("/api/users").status_code == status


def row_of(caller: Caller) -> dict[str, Any]:
    return User.objects.filter(pk=caller.user.pk).values().get()
