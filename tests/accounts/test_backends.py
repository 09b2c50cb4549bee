from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import Client
from django.urls import reverse

from accounts.backends import RoleBackend
from tests.conftest import PASSWORD, Caller


@pytest.mark.parametrize(
    ("permission", "roles"),
    [
        ("accounts.view_user", {"admin", "operator"}),
        ("accounts.change_user", {"admin"}),
        ("accounts.delete_role", {"admin"}),
        ("monitoring.view_auditlog", {"admin", "operator"}),
        ("sessions.delete_session", {"admin"}),
        ("inference.view_model", {"admin", "operator", "user", "guest"}),
        ("inference.change_model", {"admin", "operator"}),
        ("inference.view_inferencejob", {"admin", "operator", "user", "guest"}),
        ("inference.change_inferencejob", {"admin"}),
        ("plugins_app.change_plugin", {"admin", "operator"}),
    ],
)
def test_the_role_answers_djangos_question(
    permission: str,
    roles: set[str],
    admin: Caller,
    operator: Caller,
    member: Caller,
    guest: Caller,
) -> None:
    cast = {"admin": admin, "operator": operator, "user": member, "guest": guest}
    assert {name for name, who in cast.items() if who.user.has_perm(permission)} == roles


def test_a_whole_app_shows_to_who_may_read_some_of_it(operator: Caller, member: Caller) -> None:
    assert operator.user.has_module_perms("accounts")
    assert not member.user.has_module_perms("accounts")
    assert member.user.has_module_perms("inference")


def test_nobody_and_the_inactive_have_no_permission(admin: Caller) -> None:
    admin.user.is_active = False
    assert not admin.user.has_perm("accounts.view_user")
    assert not RoleBackend().has_perm(AnonymousUser(), "accounts.view_user")
    assert not RoleBackend().has_module_perms(AnonymousUser(), "accounts")


def test_permissions_are_not_listed_since_only_the_role_counts(admin: Caller) -> None:
    assert admin.user.get_all_permissions() == set()
    assert admin.user.get_user_permissions() == set()
    assert admin.user.get_group_permissions() == set()


def test_a_password_signs_in_whoever_is_active(member: Caller) -> None:
    client = Client()
    client.force_login(member.user)
    assert RoleBackend().get_user(member.user.pk) == member.user
    assert RoleBackend().authenticate(None, username="the-user", password=PASSWORD) == member.user
    member.user.is_active = False
    member.user.save()
    assert RoleBackend().get_user(member.user.pk) is None
    assert RoleBackend().authenticate(None, username="the-user", password=PASSWORD) is None


def test_rights_come_with_the_user_in_two_queries(
    member: Caller, django_assert_num_queries: object
) -> None:
    with django_assert_num_queries(2):  # type: ignore[operator]
        user = RoleBackend().get_user(member.user.pk)
        assert user is not None
        user.has_perm("inference.view_model")


def test_admin_opens_for_who_may_read_the_system_configuration(
    operator: Caller, member: Caller
) -> None:
    client = Client()
    client.force_login(operator.user)
    assert client.get(reverse("admin:index")).status_code == 200
    client.force_login(member.user)
    assert client.get(reverse("admin:index")).status_code == 302
    assert client.get(reverse("admin:login")).status_code == 403


@pytest.mark.django_db
def test_a_stranger_is_sent_to_the_portals_sign_in_page() -> None:
    answer = Client().get(reverse("admin:index"), follow=True)
    assert answer.redirect_chain[-1][0] == "/login/?next=%2Fadmin%2F"


@pytest.mark.django_db
def test_sign_in_leads_to_no_foreign_address() -> None:
    answer = Client().get(reverse("admin:login"), {"next": "https://elsewhere.example/"})
    assert answer.headers["Location"] == "/login/?next=%2Fadmin%2F"


def test_tables_of_sign_in_stand_with_the_accounts(admin: Caller) -> None:
    client = Client()
    client.force_login(admin.user)
    shown = client.get(reverse("admin:index")).context["app_list"]
    tables = {app["app_label"]: {table["object_name"] for table in app["models"]} for app in shown}
    assert {"User", "Role", "AccessAttempt", "TOTPDevice"} <= tables["accounts"]
    assert not {"axes", "otp_totp"} & set(tables)
