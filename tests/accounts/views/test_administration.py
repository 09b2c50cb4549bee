"""Pages of users and limits: for who may read the system configuration, buttons for who may write it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.services.limits import set_limits
from tests.conftest import Caller


@pytest.fixture
def read() -> Any:
    def page(caller: Caller, path: str) -> tuple[int, str]:
        browser = Client()
        browser.force_login(caller.user)
        response = browser.get(path)
        return response.status_code, response.content.decode()

    return page


@pytest.mark.parametrize("path", ["/users", "/limits"])
def test_members_and_guests_are_refused(
    path: str, read: Any, member: Caller, guest: Caller
) -> None:
    assert read(member, path)[0] == 403
    assert read(guest, path)[0] == 403


def test_an_operator_looks_and_an_admin_acts(read: Any, operator: Caller, admin: Caller) -> None:
    for path, button in (("/users", 'id="new-user"'), ("/limits", 'id="other-subject"')):
        status, text = read(operator, path)
        assert status == 200
        assert button not in text
        assert button in read(admin, path)[1]


def test_users_are_found_by_name_role_and_state(read: Any, admin: Caller, member: Caller) -> None:
    name = member.user.username
    for query in (f"q={name}", "role=user", "is_active=true", "q=&role=&is_active="):
        assert f"<strong>{name}</strong>" in read(admin, f"/users?{query}")[1]
    for query in ("q=nobody", "role=guest", "is_active=false"):
        assert f"<strong>{name}</strong>" not in read(admin, f"/users?{query}")[1]
    for query in ("is_active=perhaps", "limit=no"):
        status, text = read(admin, f"/users?{query}")
        assert status == 400
        assert query.partition("=")[0] in text


def test_own_limits_stand_apart_from_the_roles(read: Any, admin: Caller, member: Caller) -> None:
    set_limits(actor=admin.user, subject="role:user", tokens_per_minute=4711)
    set_limits(actor=admin.user, subject=f"user:{member.user.username}", daily_tokens=1234)
    _, text = read(admin, "/limits")
    table, _, others = text.partition("With limits of their own")
    assert "4711" in table
    assert "1234" in others
    assert f"user:{member.user.username}" in others
