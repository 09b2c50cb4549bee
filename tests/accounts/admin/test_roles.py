from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import Role
from accounts.rights import rights_of
from accounts.services.roles import create_role
from accounts.services.users import create_user
from llamagpu.http.permissions import Resource
from monitoring.models import AuditLog
from tests.accounts.admin.conftest import browser_of
from tests.conftest import PASSWORD, Caller


def cells(**rights: str) -> dict[str, str]:
    return {f"right_{resource}": rights.get(resource, "") for resource in Resource}


def page(slug: str, name: str = "change") -> str:
    return reverse(f"admin:accounts_role_{name}", args=[Role.objects.get(slug=slug).pk])


def test_a_role_is_made_with_its_rights(boss: Client) -> None:
    body = {"slug": "analyst", "name": "Analyst", "description": "", **cells(monitoring="R")}
    assert boss.post(reverse("admin:accounts_role_add"), body).status_code == 302
    rights = rights_of(Role.objects.get(slug="analyst"))
    assert rights["monitoring"] == "R"
    assert rights["models"] == ""
    assert AuditLog.objects.filter(action="role.created").count() == 1


def test_the_matrix_is_shown_and_changed_cell_by_cell(boss: Client) -> None:
    shown = boss.get(page("operator")).content.decode()
    assert '<option value="RW" selected>' in shown
    body = {"name": "Operator", "description": "", **cells(models="R", inference="RW")}
    assert boss.post(page("operator"), body).status_code == 302
    rights = rights_of(Role.objects.get(slug="operator"))
    assert rights["models"] == "R"
    assert rights["plugins"] == ""
    row = AuditLog.objects.get(action="role.changed")
    assert row.before["rights"]["models"] == "RW"


def test_the_admin_role_shows_its_rights_and_keeps_them(boss: Client) -> None:
    assert "right_models" not in boss.get(page("admin")).content.decode()
    boss.post(page("admin"), {"name": "Boss", "description": "", **cells()})
    role = Role.objects.get(slug="admin")
    assert role.name == "Boss"
    assert set(rights_of(role).values()) == {"RW"}


def test_a_built_in_role_cannot_be_deleted_and_another_can(boss: Client) -> None:
    assert boss.post(page("guest", "delete"), {"post": "yes"}).status_code == 403
    body = {"slug": "analyst", "name": "Analyst", "description": "", **cells()}
    boss.post(reverse("admin:accounts_role_add"), body)
    assert boss.post(page("analyst", "delete"), {"post": "yes"}).status_code == 302
    assert not Role.objects.filter(slug="analyst").exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [({"slug": "guest"}, "already exists"), ({"right_models": "W"}, "Select a valid choice")],
)
def test_a_role_that_cannot_be_is_refused_on_the_page(
    boss: Client, values: dict[str, Any], said: str
) -> None:
    body = {"slug": "x", "name": "X", "description": "", **cells(), **values}
    answer = boss.post(reverse("admin:accounts_role_add"), body)
    assert answer.status_code == 200
    assert said in answer.content.decode()
    assert Role.objects.count() == 4


def test_an_operator_sees_the_matrix_and_changes_none_of_it(operator: Caller) -> None:
    browser = browser_of(operator)
    shown = browser.get(page("guest")).content.decode()
    assert "models: read" in shown
    assert "right_models" not in shown
    assert browser.post(page("operator"), cells(system_config="RW")).status_code == 403
    assert rights_of(Role.objects.get(slug="operator"))["system_config"] == "R"
    assert browser.get(reverse("admin:accounts_rolepermission_changelist")).status_code == 200


def test_reaching_for_more_than_one_has_is_refused_and_noted(db: None, redis_client: Any) -> None:
    create_role(actor=None, slug="mgr", name="Manager", rights={"system_config": "RW"})
    user = create_user(actor=None, username="mgr", password=PASSWORD, role="mgr")
    browser = browser_of(Caller(user, ""))
    body = {"name": "Guest", "description": "", **cells(inference="RW", models="R", plugins="R")}
    answer = browser.post(page("guest"), body | {"right_monitoring": "R"})
    assert "Your role may not grant this" in answer.content.decode()
    assert rights_of(Role.objects.get(slug="guest"))["inference"] == ""
    row = AuditLog.objects.get(action="access.refused")
    assert (row.actor_name, row.outcome) == ("mgr", "refused")
