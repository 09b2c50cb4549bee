from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey, User
from accounts.services.api_keys import create_api_key, rotate_api_key
from accounts.services.roles import create_role
from accounts.services.users import change_user, create_user, delete_user, set_password
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

OTHER = "battery staple correct horse"


@pytest.fixture
def second(db: None) -> User:
    return create_user(actor=None, username="second", password=PASSWORD, role="admin")


@pytest.fixture
def manager(db: None) -> User:
    """May manage users, and nothing else."""
    create_role(actor=None, slug="manager", name="Manager", rights={"system_config": "RW"})
    return create_user(actor=None, username="manager", password=PASSWORD, role="manager")


def refused(deed: Callable[[], Any]) -> ErrorCode:
    with pytest.raises(AppError) as caught:
        deed()
    return caught.value.code


def test_what_is_given_changes_and_the_rest_stays(admin: Caller, member: Caller) -> None:
    change_user(actor=admin.user, user=member.user, role="operator", email="Them@EXAMPLE.org")
    user = User.objects.get(pk=member.user.pk)
    assert (user.role.slug, user.email, user.first_name) == ("operator", "Them@example.org", "")
    row = AuditLog.objects.get(action="user.changed")
    assert row.before == {"role": "user", "email": ""}
    assert row.after == {"role": "operator", "email": "Them@example.org"}
    assert row.target_name == "the-user"


def test_nothing_changed_leaves_no_row(admin: Caller, member: Caller) -> None:
    change_user(actor=admin.user, user=member.user, role="user", is_active=True)
    assert not AuditLog.objects.filter(action__startswith="user.changed").exists()


@pytest.mark.parametrize(
    "changes", [{"email": "nowhere"}, {"first_name": "x" * 151}, {"role": "king"}]
)
def test_a_value_that_cannot_be_is_refused_by_name(
    admin: Caller, member: Caller, changes: dict[str, Any]
) -> None:
    with pytest.raises(AppError, match=f"^{next(iter(changes))}:") as caught:
        change_user(actor=admin.user, user=member.user, **changes)
    assert caught.value.code is ErrorCode.INVALID_INPUT


@pytest.mark.django_db
def test_names_that_differ_in_case_alone_are_taken(member: Caller) -> None:
    with pytest.raises(AppError) as caught:
        create_user(actor=None, username="THE-User", password=PASSWORD, role="user")
    assert caught.value.code is ErrorCode.CONFLICT


def test_deactivation_ends_sessions_and_keys_at_the_next_call(
    admin: Caller, member: Caller
) -> None:
    browser = Client()
    browser.force_login(member.user)
    assert browser.get("/api/me").status_code == 200
    assert member.get("/api/me").status_code == 200
    change_user(actor=admin.user, user=member.user, is_active=False)
    assert browser.get("/api/me").status_code == 401
    assert member.get("/api/me").status_code == 401
    change_user(actor=admin.user, user=member.user, is_active=True)
    assert browser.get("/api/me").status_code == 401, "the old session stays ended"
    assert member.get("/api/me").status_code == 200
    actions = AuditLog.objects.filter(target_type="user").values_list("action", flat=True)
    assert list(actions)[-2:] == ["user.deactivated", "user.activated"]


def test_a_demoted_user_loses_rights_at_the_very_next_call(admin: Caller, second: User) -> None:
    _, key = create_api_key(actor=None, user=second, name="theirs")
    caller = Caller(second, str(key))
    browser = Client()
    browser.force_login(second)
    assert caller.get("/api/users").status_code == 200
    assert browser.get("/api/users").status_code == 200
    assert browser.get(reverse("admin:index")).status_code == 200
    change_user(actor=admin.user, user=second, role="user")
    assert caller.get("/api/users").status_code == 403
    assert browser.get("/api/users").status_code == 403
    assert browser.get(reverse("admin:index")).status_code == 302
    change_user(actor=admin.user, user=second, role="admin")
    assert caller.get("/api/users").status_code == 200


def test_the_last_active_admin_stays_one(admin: Caller) -> None:
    for deed in (
        lambda: change_user(actor=None, user=admin.user, role="user"),
        lambda: change_user(actor=None, user=admin.user, is_active=False),
        lambda: delete_user(actor=None, user=admin.user),
    ):
        with pytest.raises(AppError, match="last active Admin") as caught:
            deed()
        assert caught.value.code is ErrorCode.CONFLICT
    assert User.objects.get(pk=admin.user.pk).role.slug == "admin"


def test_an_admin_who_is_shut_out_does_not_count_as_one(admin: Caller, second: User) -> None:
    change_user(actor=admin.user, user=second, is_active=False)
    with pytest.raises(AppError, match="last active Admin"):
        change_user(actor=None, user=admin.user, role="user")
    delete_user(actor=admin.user, user=second)


def test_nobody_changes_the_own_role_or_state(admin: Caller, second: User) -> None:
    me = admin.user
    assert refused(lambda: change_user(actor=me, user=me, role="user")) is ErrorCode.CONFLICT
    assert refused(lambda: change_user(actor=me, user=me, is_active=False)) is ErrorCode.CONFLICT
    assert refused(lambda: delete_user(actor=me, user=me)) is ErrorCode.CONFLICT
    change_user(actor=me, user=me, role="admin", email="me@example.org")


def test_who_manages_users_takes_over_no_admin(manager: User, admin: Caller) -> None:
    boss = admin.user
    for deed in (
        lambda: create_user(actor=manager, username="x", password=PASSWORD, role="admin"),
        lambda: change_user(actor=manager, user=boss, email="mine@example.org"),
        lambda: change_user(actor=manager, user=boss, role="guest"),
        lambda: set_password(actor=manager, user=boss, password=OTHER),
        lambda: delete_user(actor=manager, user=boss),
    ):
        assert refused(deed) is ErrorCode.PERMISSION_DENIED
    boss.refresh_from_db()
    assert boss.check_password(PASSWORD)


def test_who_manages_users_makes_no_key_of_an_admin(manager: User, admin: Caller) -> None:
    key = ApiKey.objects.get(user=admin.user)
    for deed in (
        lambda: create_api_key(actor=manager, user=admin.user, name="mine"),
        lambda: rotate_api_key(actor=manager, key=key),
    ):
        assert refused(deed) is ErrorCode.PERMISSION_DENIED
    assert ApiKey.objects.filter(user=admin.user).count() == 1


def test_who_manages_users_gives_roles_within_their_own(manager: User) -> None:
    create_role(actor=None, slug="reader", name="Reader", rights={"system_config": "R"})
    user = create_user(actor=manager, username="x", password=PASSWORD, role="reader")
    assert (
        refused(lambda: change_user(actor=manager, user=user, role="guest"))
        is ErrorCode.PERMISSION_DENIED
    )
    delete_user(actor=manager, user=user)


def test_a_new_password_ends_the_sessions_and_is_written_nowhere(
    admin: Caller, member: Caller
) -> None:
    browser = Client()
    browser.force_login(member.user)
    set_password(actor=admin.user, user=member.user, password=OTHER)
    assert browser.get("/api/me").status_code == 401
    row = AuditLog.objects.get(action="user.password_changed")
    assert row.target_id == str(member.user.pk)
    assert OTHER not in str([row.data, row.before, row.after])
    with pytest.raises(AppError, match=r"password: .*too common"):
        set_password(actor=admin.user, user=member.user, password="password")


def test_a_deleted_user_is_remembered_by_the_audit_log(admin: Caller, member: Caller) -> None:
    pk = member.user.pk
    delete_user(actor=admin.user, user=member.user)
    assert member.get("/api/me").status_code == 401
    row = AuditLog.objects.get(action="user.deleted")
    assert (row.target_id, row.target_name) == (str(pk), "the-user")
    assert row.before["role"] == "user"
    stale = User(pk=pk, username="the-user")
    assert refused(lambda: change_user(actor=admin.user, user=stale)) is ErrorCode.NOT_FOUND


@pytest.mark.parametrize("deed", ["demote", "deactivate", "delete"])
@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_of_two_admins_who_remove_each_other_at_once_one_stays(deed: str) -> None:
    pair = [
        create_user(actor=None, username=name, password=PASSWORD, role="admin")
        for name in ("one", "two")
    ]
    both = threading.Barrier(2)
    deeds: dict[str, Callable[[User, User], Any]] = {
        "demote": lambda actor, user: change_user(actor=actor, user=user, role="user"),
        "deactivate": lambda actor, user: change_user(actor=actor, user=user, is_active=False),
        "delete": lambda actor, user: delete_user(actor=actor, user=user),
    }

    def remove(index: int) -> bool:
        try:
            actor, user = pair[index], pair[1 - index]
            both.wait()
            deeds[deed](actor, user)
        except AppError:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(remove, range(2)))
    assert outcomes == [False, True]
    assert User.objects.filter(role__slug="admin", is_active=True).count() == 1
