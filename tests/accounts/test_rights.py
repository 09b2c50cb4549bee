from __future__ import annotations

import pytest
from django.db import IntegrityError

from accounts.models import Role, RolePermission
from accounts.rights import actions_of, check_rights, rights_of
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource


@pytest.mark.django_db
def test_a_row_of_the_matrix_names_every_resource() -> None:
    rights = rights_of(Role.objects.get(slug="operator"))
    assert rights == {
        "system_config": "R",
        "plugins": "RW",
        "models": "RW",
        "inference": "RW",
        "monitoring": "R",
    }
    assert set(rights_of(Role.objects.create(slug="new", name="New")).values()) == {""}


def test_cells_are_checked_by_name() -> None:
    assert check_rights({"models": "RW", "plugins": ""}) == {
        Resource.MODELS: "RW",
        Resource.PLUGINS: "",
    }
    with pytest.raises(AppError, match="'modles' is no resource"):
        check_rights({"modles": "R"})


@pytest.mark.parametrize("right", ["W", "WR", "r", "-", None, True, ["R"], {}])
def test_a_right_is_rw_r_or_nothing(right: object) -> None:
    with pytest.raises(AppError, match=r"rights\.models: must be 'RW', 'R' or ''"):
        check_rights({"models": right})


def test_a_right_is_made_of_actions() -> None:
    assert actions_of("RW") == [Action.READ, Action.WRITE]
    assert actions_of("R") == [Action.READ]
    assert actions_of("") == []


@pytest.mark.django_db
def test_the_database_refuses_a_right_to_write_without_reading() -> None:
    role = Role.objects.create(slug="new", name="New")
    with pytest.raises(IntegrityError):
        RolePermission.objects.create(role=role, resource="models", can_read=False, can_write=True)
