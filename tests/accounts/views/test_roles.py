from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import Role
from accounts.rights import rights_of
from accounts.services.roles import create_role
from accounts.services.users import create_user
from monitoring.models import AuditLog
from tests.conftest import PASSWORD, Caller


def browser_of(caller: Caller) -> Client:
    browser = Client()
    browser.force_login(caller.user)
    return browser


def form(role: str, **rights: str) -> dict[str, str]:
    resources = ("system_config", "plugins", "models", "inference", "monitoring")
    return {"role": role} | {f"{role}-{name}": rights.get(name, "") for name in resources}


def test_who_reads_the_configuration_sees_the_matrix(operator: Caller, member: Caller) -> None:
    answer = browser_of(operator).get("/roles")
    shown = answer.content.decode()
    assert answer.status_code == 200
    assert "/api/users/{pk}" in shown
    assert "Change rights" not in shown
    assert browser_of(member).get("/roles").status_code == 403


@pytest.mark.django_db
def test_a_stranger_is_sent_to_sign_in() -> None:
    answer = Client().get("/roles")
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/login/?next=%2Froles"


def test_an_admin_changes_a_row_on_the_page(admin: Caller) -> None:
    browser = browser_of(admin)
    assert 'name="guest-inference"' in browser.get("/roles").content.decode()
    answer = browser.post("/roles", form("guest", inference="RW", models="R"), follow=True)
    assert "The rights of Guest hold" in answer.content.decode()
    rights = rights_of(Role.objects.get(slug="guest"))
    assert (rights["inference"], rights["models"], rights["plugins"]) == ("RW", "R", "")
    assert AuditLog.objects.filter(action="role.changed").count() == 1


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (form("admin", models="R"), "always has every right"),
        (form("guest", models="W"), "Choose nothing, read"),
    ],
)
def test_what_cannot_be_is_said_and_not_done(
    admin: Caller, body: dict[str, Any], said: str
) -> None:
    before = [rights_of(role) for role in Role.objects.all()]
    assert said in browser_of(admin).post("/roles", body, follow=True).content.decode()
    assert [rights_of(role) for role in Role.objects.all()] == before


@pytest.mark.parametrize("slug", ["nothing", "", "a\0b"])
def test_a_role_that_is_not_there_is_not_found(admin: Caller, slug: str) -> None:
    assert browser_of(admin).post("/roles", form(slug)).status_code == 404


def test_an_operator_changes_nothing(operator: Caller) -> None:
    answer = browser_of(operator).post("/roles", form("operator", system_config="RW"))
    assert answer.status_code == 403
    assert rights_of(Role.objects.get(slug="operator"))["system_config"] == "R"


def test_who_manages_roles_does_not_change_the_own_one(db: None) -> None:
    role = create_role(actor=None, slug="mgr", name="Manager", rights={"system_config": "RW"})
    user = create_user(actor=None, username="mgr", password=PASSWORD, role=role.slug)
    browser = browser_of(Caller(user, ""))
    assert 'name="mgr-models"' not in browser.get("/roles").content.decode()
    answer = browser.post("/roles", form("mgr", system_config="RW", models="RW"), follow=True)
    assert "own role" in answer.content.decode()
    assert rights_of(Role.objects.get(slug="mgr"))["models"] == ""
