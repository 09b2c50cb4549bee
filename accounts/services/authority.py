"""Nobody gives away, or takes from others, more than they have themselves."""

from __future__ import annotations

from collections.abc import Mapping

from accounts.models import Role, User
from accounts.rights import actions_of, rights_of
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Resource
from llamagpu.lib.error_codes import ErrorCode


def require_authority(actor: User | None, role: Role, deed: str) -> None:
    """Raises AppError PERMISSION_DENIED unless `actor` has every right of `role`.

    So a role that may manage users, without being Admin, can neither make an Admin nor take over an
    Admin's account. `actor` None is the system itself, which may. `deed` ends the sentence "Your
    role may not ...".
    """
    rights = {Resource(name): right for name, right in rights_of(role).items()}
    require_rights(actor, rights, deed)


def require_rights(actor: User | None, rights: Mapping[Resource, str], deed: str) -> None:
    """The same for single cells of the matrix."""
    if actor is None:
        return
    for resource, right in rights.items():
        for action in actions_of(right):
            if not actor.can(resource, action):
                name = resource.value.replace("_", " ")
                raise AppError(
                    ErrorCode.PERMISSION_DENIED,
                    f"Your role may not {deed}: it lacks the right to {action} {name} itself.",
                )
