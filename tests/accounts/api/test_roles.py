from __future__ import annotations

from typing import Any

import pytest

from accounts.models import Role
from accounts.rights import rights_of
from accounts.services.users import create_user
from tests.accounts.api.test_users import delete, patch
from tests.conftest import PASSWORD, Caller


def test_who_may_read_the_configuration_sees_the_matrix(operator: Caller, member: Caller) -> None:
    answer = operator.get("/api/roles").json()
    assert [role["slug"] for role in answer["results"]] == ["admin", "operator", "user", "guest"]
    assert answer["results"][1]["rights"]["plugins"] == "RW"
    assert answer["results"][1]["num_users"] == 1
    assert operator.get("/api/roles/guest").json()["role"]["is_builtin"] is True
    assert member.get("/api/roles").status_code == 403
    assert member.get("/api/roles/guest").status_code == 403


def test_an_admin_makes_changes_and_deletes_a_role(admin: Caller) -> None:
    body = {"slug": "analyst", "name": "Analyst", "rights": {"monitoring": "R"}}
    made = admin.post("/api/roles", body)
    assert made.status_code == 201
    assert made.json()["role"]["rights"] == {
        "system_config": "",
        "plugins": "",
        "models": "",
        "inference": "",
        "monitoring": "R",
    }
    changed = patch(admin, "/api/roles/analyst", {"rights": {"inference": "RW"}, "name": "A"})
    assert changed.status_code == 200
    assert changed.json()["role"]["rights"]["inference"] == "RW"
    assert changed.json()["role"]["rights"]["monitoring"] == "R"
    analyst = create_user(actor=None, username="ana", password=PASSWORD, role="analyst")
    assert delete(admin, "/api/roles/analyst").status_code == 409
    analyst.delete()
    assert delete(admin, "/api/roles/analyst").status_code == 204
    assert admin.get("/api/roles/analyst").status_code == 404


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"rights": {"modles": "R"}}, 400, "'modles' is no resource"),
        ({"rights": {"models": "W"}}, 400, "rights.models"),
        ({"rights": {"models": 5}}, 400, "rights.models"),
        ({"rights": "RW"}, 400, "rights"),
        ({"slug": "visitor"}, 400, "slug"),
        ({"is_builtin": False}, 400, "is_builtin"),
        ({"name": ""}, 400, "name"),
    ],
)
def test_a_change_that_cannot_be_is_refused_by_name(
    admin: Caller, body: dict[str, Any], status: int, said: str
) -> None:
    before = rights_of(Role.objects.get(slug="guest"))
    answer = patch(admin, "/api/roles/guest", body)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]
    assert rights_of(Role.objects.get(slug="guest")) == before


def test_the_admin_role_and_the_built_in_ones_are_kept(admin: Caller) -> None:
    assert patch(admin, "/api/roles/admin", {"rights": {"models": "R"}}).status_code == 409
    assert delete(admin, "/api/roles/guest").status_code == 409


def test_an_operator_changes_no_role(operator: Caller) -> None:
    for answer in (
        operator.post("/api/roles", {"slug": "x", "name": "X", "rights": {"system_config": "RW"}}),
        patch(operator, "/api/roles/operator", {"rights": {"system_config": "RW"}}),
        delete(operator, "/api/roles/guest"),
    ):
        assert answer.status_code == 403
    assert rights_of(Role.objects.get(slug="operator"))["system_config"] == "R"
    assert Role.objects.count() == 4


def test_a_changed_row_of_the_matrix_counts_at_the_next_call(admin: Caller, guest: Caller) -> None:
    assert guest.get("/api/system/status").status_code == 200
    assert patch(admin, "/api/roles/guest", {"rights": {"monitoring": ""}}).status_code == 200
    assert guest.get("/api/system/status").status_code == 403
