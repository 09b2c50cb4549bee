from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client

from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller

SignIn = Callable[..., Any]


def test_one_changes_ones_own_names(member: Caller, browser: Client, sign_in: SignIn) -> None:
    sign_in("the-user")
    form = {"first_name": "Ada", "last_name": "L.", "email": ""}
    assert browser.post("/account/", form).url == "/account/"
    member.user.refresh_from_db()
    assert member.user.get_full_name() == "Ada L."
    row = AuditLog.objects.get(action="user.changed")
    assert row.after == {"first_name": "Ada", "last_name": "L."}


def test_nothing_else_can_be_changed_there(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    form = {"first_name": "A", "role": "admin", "is_staff": "on", "username": "boss", "role_id": 1}
    browser.post("/account/", form)
    member.user.refresh_from_db()
    assert (member.user.role.slug, member.user.username) == ("user", "the-user")


def test_another_address_for_resets_takes_the_password(
    member: Caller, browser: Client, sign_in: SignIn
) -> None:
    sign_in("the-user")
    form = {"email": "thief@example.org"}
    refused = browser.post("/account/", form)
    assert list(refused.context["form"].errors) == ["password"]
    member.user.refresh_from_db()
    assert member.user.email == ""
    assert browser.post("/account/", form | {"password": PASSWORD}).status_code == 302
    member.user.refresh_from_db()
    assert member.user.email == "thief@example.org"


def test_strangers_are_sent_to_sign_in(browser: Client, db: None) -> None:
    for page in ("/account/", "/account/password/", "/account/second-factor/"):
        assert browser.get(page).url.startswith("/login/?next=")
    assert browser.post("/account/sessions/end/").url == "/login/"


def test_a_key_opens_no_page(member: Caller, browser: Client) -> None:
    assert browser.get("/account/", headers=member.headers).status_code == 302
