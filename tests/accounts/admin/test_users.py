from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Role, User
from accounts.services.api_keys import create_api_key
from accounts.services.users import create_user
from monitoring.models import AuditLog
from tests.accounts.admin.conftest import browser_of
from tests.conftest import PASSWORD, Caller

OTHER = "battery staple correct horse"
LIST = "admin:accounts_user_changelist"


def form(role: str, **values: Any) -> dict[str, Any]:
    empty = {"email": "", "first_name": "", "last_name": ""}
    return empty | {"role": Role.objects.get(slug=role).pk} | values


def page(user: User, name: str = "change") -> str:
    return reverse(f"admin:accounts_user_{name}", args=[user.pk])


def test_a_user_is_made_by_the_service(boss: Client, admin: Caller) -> None:
    body = form("operator", username="new", password=PASSWORD, repeated=PASSWORD)
    answer = boss.post(reverse("admin:accounts_user_add"), body)
    assert answer.status_code == 302
    user = User.objects.get(username="new")
    assert user.role.slug == "operator"
    assert user.check_password(PASSWORD)
    row = AuditLog.objects.get(action="user.created", target_id=str(user.pk))
    assert row.actor_name == admin.user.username


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"username": "new", "password": "abc", "repeated": "abc"}, "too short"),
        ({"username": "new", "password": PASSWORD, "repeated": OTHER}, "passwords differ"),
        ({"username": "THE-ADMIN", "password": PASSWORD, "repeated": PASSWORD}, "is taken"),
    ],
)
def test_a_refusal_stands_on_the_page_and_nothing_is_written(
    boss: Client, values: dict[str, str], said: str
) -> None:
    answer = boss.post(reverse("admin:accounts_user_add"), form("user", **values))
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert User.objects.count() == 1


def test_a_change_is_made_by_the_service(boss: Client, member: Caller) -> None:
    body = form("guest", email="them@example.org", is_active="on")
    assert boss.post(page(member.user), body).status_code == 302
    user = User.objects.get(pk=member.user.pk)
    assert (user.role.slug, user.email, user.is_active) == ("guest", "them@example.org", True)
    assert AuditLog.objects.get(action="user.changed").after["role"] == "guest"


def test_the_last_admin_stays_whatever_is_tried(boss: Client, admin: Caller) -> None:
    answer = boss.post(page(admin.user), form("user", is_active="on"))
    assert "Nobody changes the own role" in answer.content.decode()
    answer = boss.post(page(admin.user, "delete"), {"post": "yes"}, follow=True)
    assert "Nobody deletes the own account" in answer.content.decode()
    chosen = {"_selected_action": [admin.user.pk]}
    answer = boss.post(reverse(LIST), {"action": "deactivate", **chosen}, follow=True)
    assert "Nobody changes the own role" in answer.content.decode()
    deletion = {"action": "delete_selected", "post": "yes", **chosen}
    answer = boss.post(reverse(LIST), deletion, follow=True)
    assert "Nobody deletes the own account" in answer.content.decode()
    user = User.objects.get(pk=admin.user.pk)
    assert (user.role.slug, user.is_active) == ("admin", True)


def test_of_users_chosen_for_deletion_all_go_or_none(boss: Client, admin: Caller) -> None:
    other = create_user(actor=None, username="a-first", password=PASSWORD, role="guest")
    chosen = {"_selected_action": [other.pk, admin.user.pk]}
    boss.post(reverse(LIST), {"action": "delete_selected", "post": "yes", **chosen})
    assert User.objects.filter(pk=other.pk).exists()
    chosen = {"_selected_action": [other.pk]}
    boss.post(reverse(LIST), {"action": "delete_selected", "post": "yes", **chosen})
    assert not User.objects.filter(pk=other.pk).exists()
    assert AuditLog.objects.filter(action="user.deleted").count() == 1


def test_a_user_with_keys_is_deleted_with_them(boss: Client, member: Caller) -> None:
    create_api_key(actor=None, user=member.user, name="x")
    assert boss.post(page(member.user, "delete"), {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=member.user.pk).exists()


def test_actions_let_in_shut_out_and_sign_out(boss: Client, member: Caller) -> None:
    chosen = {"_selected_action": [member.user.pk]}
    theirs = browser_of(member)
    boss.post(reverse(LIST), {"action": "sign_out", **chosen})
    assert theirs.get("/api/me").status_code == 401
    boss.post(reverse(LIST), {"action": "deactivate", **chosen})
    assert member.get("/api/me").status_code == 401
    answer = boss.post(reverse(LIST), {"action": "activate", **chosen}, follow=True)
    assert "1 let in." in answer.content.decode()
    assert member.get("/api/me").status_code == 200


def test_a_password_is_set_on_a_page_of_its_own(boss: Client, member: Caller) -> None:
    address = page(member.user, "password")
    assert boss.get(address).status_code == 200
    weak = boss.post(address, {"password": "abc", "repeated": "abc"})
    assert "too short" in weak.content.decode()
    assert boss.post(address, {"password": OTHER, "repeated": OTHER}).status_code == 302
    assert User.objects.get(pk=member.user.pk).check_password(OTHER)
    assert AuditLog.objects.filter(action="user.password_changed").count() == 1
    assert boss.get("/admin/accounts/user/999999/password/").status_code == 404


def test_a_form_makes_nobody_staff(boss: Client, member: Caller) -> None:
    body = form("user", is_active="on", is_staff="on", is_superuser="on", session_epoch="9")
    boss.post(page(member.user), body)
    user = User.objects.get(pk=member.user.pk)
    assert (user.is_staff, user.is_superuser, user.session_epoch) == (False, False, 0)


def test_an_operator_looks_and_changes_nothing(operator: Caller, member: Caller) -> None:
    browser = browser_of(operator)
    assert "the-user" in browser.get(reverse(LIST)).content.decode()
    shown = browser.get(page(member.user)).content.decode()
    assert "_save" not in shown
    assert "Set password" not in shown
    before = User.objects.filter(pk=member.user.pk).values().get()
    for address, body in (
        (page(member.user), form("admin", is_active="on")),
        (reverse("admin:accounts_user_add"), form("admin", username="x", password=PASSWORD)),
        (page(member.user, "delete"), {"post": "yes"}),
        (page(member.user, "password"), {"password": OTHER, "repeated": OTHER}),
    ):
        assert browser.post(address, body).status_code == 403
    chosen = {"action": "deactivate", "_selected_action": [member.user.pk]}
    browser.post(reverse(LIST), chosen)
    assert User.objects.filter(pk=member.user.pk).values().get() == before


@pytest.mark.parametrize("name", ["the-user", "the-guest"])
def test_members_and_guests_get_no_admin(member: Caller, guest: Caller, name: str) -> None:
    caller = member if name == "the-user" else guest
    answer = browser_of(caller).get(reverse(LIST), follow=True)
    assert answer.status_code == 403


def test_the_history_is_the_audit_log(boss: Client, member: Caller) -> None:
    answer = boss.get(page(member.user, "history"))
    assert answer.status_code == 302
    target = f"target_type=user&target_id={member.user.pk}"
    assert answer.headers["Location"].endswith(target)
