"""A role's row of the permission matrix as text: `{"models": "RW", "plugins": "R", ...}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from accounts.models import Role
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource
from llamagpu.lib.error_codes import ErrorCode

NONE, READ, READ_WRITE = "", "R", "RW"
#: Writing without reading makes no sense, so there is no "W".
RIGHTS = (NONE, READ, READ_WRITE)


def rights_of(role: Role) -> dict[str, str]:
    """What the role may do with each resource: "RW", "R" or an empty string."""
    cells = {cell.resource: cell for cell in role.permissions.all()}
    rights = {}
    for resource in Resource:
        cell = cells.get(resource.value)
        rights[resource.value] = as_text(cell.can_read, cell.can_write) if cell else NONE
    return rights


def as_text(can_read: bool, can_write: bool) -> str:
    return READ_WRITE if can_write else READ if can_read else NONE


def check_rights(given: Mapping[str, Any]) -> dict[Resource, str]:
    """The cells that `given` names. Raises AppError INVALID_INPUT for an unknown resource or right."""
    checked = {}
    for name, right in given.items():
        if name not in list(Resource):
            known = ", ".join(Resource)
            raise AppError(
                ErrorCode.INVALID_INPUT, f"rights: '{name}' is no resource; there are {known}"
            )
        if right not in RIGHTS:
            raise AppError(
                ErrorCode.INVALID_INPUT,
                f"rights.{name}: must be 'RW', 'R' or '' (who may write may read)",
            )
        checked[Resource(name)] = str(right)
    return checked


def actions_of(right: str) -> list[Action]:
    """`RW` as the actions that it grants."""
    return [
        action for letter, action in (("R", Action.READ), ("W", Action.WRITE)) if letter in right
    ]
