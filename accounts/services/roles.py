"""Writes of roles and their rights: one transaction each, its audit row inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import ADMIN_ROLE, Role, RolePermission, User
from accounts.rights import check_rights, rights_of
from accounts.services.authority import require_rights
from accounts.services.users import lock_admin_role
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Resource
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction


@transaction.atomic
def create_role(
    *,
    actor: User | None,
    slug: str,
    name: str,
    description: str = "",
    rights: Mapping[str, Any] | None = None,
) -> Role:
    """A new role; resources that `rights` does not name are closed to it.

    Raises AppError INVALID_INPUT, CONFLICT for a slug that is taken, PERMISSION_DENIED for a right
    that `actor` does not have.
    """
    checked = check_rights(rights or {})
    require_rights(actor, checked, "grant this")
    role = Role(slug=slug, name=name, description=description)
    _check_fields(role)
    taken = AppError(ErrorCode.CONFLICT, f"slug: '{slug}' is taken")
    if Role.objects.filter(slug=slug).exists():
        raise taken
    try:
        with transaction.atomic():
            role.save(force_insert=True)
    except IntegrityError as error:
        raise taken from error
    _write_cells(role, checked)
    role = _fresh(role)
    audit.record(
        actor=actor, action=AuditAction.ROLE_CREATED, target=role, after=describe_role(role)
    )
    return role


@transaction.atomic
def change_role(
    *,
    actor: User | None,
    role: Role,
    name: str | None = None,
    description: str | None = None,
    rights: Mapping[str, Any] | None = None,
) -> Role:
    """Changes what is given and leaves the rest, cells of the matrix included.

    Raises AppError INVALID_INPUT; CONFLICT for the rights of the Admin role and of one's own role;
    PERMISSION_DENIED for a right that `actor` does not have; NOT_FOUND where the role is gone.
    """
    row = _locked(role)
    before = describe_role(row)
    row.name = row.name if name is None else name
    row.description = row.description if description is None else description
    _check_fields(row)
    row.save(update_fields=["name", "description"])
    cells = _changed_cells(row, check_rights(rights or {}))
    if cells:
        _check_cells(actor, row, cells, before["rights"])
        _write_cells(row, cells)
        row = _fresh(row)
    after = describe_role(row)
    changed = [field for field in after if after[field] != before[field]]
    if changed:
        audit.record(
            actor=actor,
            action=AuditAction.ROLE_CHANGED,
            target=row,
            before={field: before[field] for field in changed},
            after={field: after[field] for field in changed},
        )
    return row


@transaction.atomic
def delete_role(*, actor: User | None, role: Role) -> None:
    """Removes a role that nobody has. Raises AppError CONFLICT for built-in ones and those in use."""
    lock_admin_role()  # nobody is given the role meanwhile
    row = _locked(role)
    if row.is_builtin:
        raise AppError(ErrorCode.CONFLICT, f"'{row.slug}' is built in and cannot be deleted.")
    num_users = row.users.count()
    if num_users:
        raise AppError(
            ErrorCode.CONFLICT,
            f"'{row.slug}' is the role of {num_users} users: give them another one first.",
        )
    before = describe_role(row)
    require_rights(actor, check_rights(before["rights"]), "delete this role")
    audit.record(actor=actor, action=AuditAction.ROLE_DELETED, target=row, before=before)
    row.delete()


def describe_role(role: Role) -> dict[str, Any]:
    """What the audit log keeps of a role."""
    return {
        "slug": role.slug,
        "name": role.name,
        "description": role.description,
        "rights": rights_of(role),
    }


def _locked(role: Role) -> Role:
    row = Role.objects.select_for_update().filter(pk=role.pk).first()
    if row is None:
        raise AppError(ErrorCode.NOT_FOUND, "There is no such role.")
    return row


def _fresh(role: Role) -> Role:
    return Role.objects.prefetch_related("permissions").get(pk=role.pk)


def _changed_cells(role: Role, wanted: Mapping[Resource, str]) -> dict[Resource, str]:
    present = rights_of(role)
    return {cell: right for cell, right in wanted.items() if present[cell.value] != right}


def _check_cells(
    actor: User | None, role: Role, cells: Mapping[Resource, str], present: Mapping[str, str]
) -> None:
    if role.slug == ADMIN_ROLE:
        raise AppError(
            ErrorCode.CONFLICT,
            "The Admin role always has every right: that keeps the server administrable.",
        )
    if actor is not None and actor.role_id == role.pk:
        raise AppError(
            ErrorCode.CONFLICT, "Nobody changes the rights of the own role: ask another Admin."
        )
    require_rights(actor, {cell: present[cell.value] for cell in cells}, "take this away")
    require_rights(actor, cells, "grant this")


def _write_cells(role: Role, cells: Mapping[Resource, str]) -> None:
    for resource, right in cells.items():
        RolePermission.objects.update_or_create(
            role=role,
            resource=resource.value,
            defaults={"can_read": "R" in right, "can_write": "W" in right},
        )


def _check_fields(role: Role) -> None:
    try:
        role.clean_fields()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise AppError(ErrorCode.INVALID_INPUT, f"{field}: {' '.join(messages)}") from error
