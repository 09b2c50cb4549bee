"""Writes of users: one transaction each, its audit row inside.

Every deed that could take the last Admin away locks the Admin role's row first, so that two of them
at once take turns and the second one sees what the first has done.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import ADMIN_ROLE, Role, User
from accounts.retention import check_retention
from accounts.services.authority import require_authority
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction

_FIELDS = ("username", "email", "first_name", "last_name")


@transaction.atomic
def create_user(
    *,
    actor: User | None,
    username: str,
    password: str | None,
    role: str,
    email: str = "",
    first_name: str = "",
    last_name: str = "",
) -> User:
    """A new user with the role of that slug; without a password nobody can sign in by one.

    Raises AppError INVALID_INPUT, CONFLICT for a name that is taken (whatever its case), and
    PERMISSION_DENIED for a role that may more than `actor`.
    """
    lock_admin_role()  # no role vanishes meanwhile
    found = role_of(role)
    require_authority(actor, found, "make such a user")
    username = User.normalize_username(username)
    if User.objects.filter(username__iexact=username).exists():
        raise AppError(ErrorCode.CONFLICT, f"username: '{username}' is taken")
    user = User(
        username=username,
        email=User.objects.normalize_email(email),
        first_name=first_name,
        last_name=last_name,
        role=found,
    )
    _check_fields(user)
    if password is not None:
        _check_password(password, user)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as error:
        raise AppError(ErrorCode.CONFLICT, f"username: '{username}' is taken") from error
    audit.record(
        actor=actor,
        action=AuditAction.USER_CREATED,
        target=user,
        data={"role": role},
        after=describe_user(user),
    )
    return user


@transaction.atomic
def change_user(
    *,
    actor: User | None,
    user: User,
    role: str | None = None,
    email: str | None = None,
    first_name: str | None = None,
    last_name: str | None = None,
    is_active: bool | None = None,
    retention: str | None = None,
    password: str | None = None,
) -> User:
    """Changes what is given and leaves the rest. Deactivation and a new password end all sessions.

    Raises AppError INVALID_INPUT; CONFLICT where the last active Admin would be lost or where
    somebody changes the own role or state; PERMISSION_DENIED for a user or a role that may more
    than `actor`; NOT_FOUND where the user is gone.
    """
    row = _locked(user)
    before = describe_user(row)
    changes_standing = _takes_standing(row, role, is_active)
    if actor is not None and actor.pk != row.pk:
        require_authority(actor, row.role, "change this user")
    elif actor is not None and changes_standing:
        raise AppError(
            ErrorCode.CONFLICT, "Nobody changes the own role or state: ask another Admin."
        )
    if role is not None and role != row.role.slug:
        row.role = role_of(role)
        require_authority(actor, row.role, "give this role")
    if is_active is not None and is_active != row.is_active:
        row.is_active = is_active
        row.session_epoch += 0 if is_active else 1
    given: dict[str, str | None] = {
        "email": None if email is None else User.objects.normalize_email(email),
        "first_name": first_name,
        "last_name": last_name,
    }
    if retention is not None:
        given["retention"] = str(check_retention(retention)) if retention else ""
    for name, value in given.items():
        if value is not None:
            setattr(row, name, value)
    _check_fields(row)
    _keep_an_admin(row, before)
    row.save()
    _record_change(actor, row, before)
    return row if password is None else set_password(actor=actor, user=row, password=password)


@transaction.atomic
def set_password(*, actor: User | None, user: User, password: str) -> User:
    """Gives a new password, which ends the user's sessions. Raises AppError INVALID_INPUT and so on."""
    row = _locked(user)
    if actor is not None and actor.pk != row.pk:
        require_authority(actor, row.role, "set this user's password")
    _check_password(password, row)
    row.set_password(password)
    row.session_epoch += 1  # what a session keeps open is watched by this number
    row.save(update_fields=["password", "session_epoch"])
    audit.record(actor=actor, action=AuditAction.PASSWORD_CHANGED, target=row)
    return row


@transaction.atomic
def delete_user(*, actor: User | None, user: User) -> None:
    """Removes the account with its keys and jobs; audit rows and usage stay and name it.

    Raises AppError CONFLICT for the last active Admin and for oneself, PERMISSION_DENIED, NOT_FOUND.
    """
    row = _locked(user)
    if actor is not None and actor.pk == row.pk:
        raise AppError(ErrorCode.CONFLICT, "Nobody deletes the own account: ask another Admin.")
    require_authority(actor, row.role, "delete this user")
    before = describe_user(row)
    row.is_active = False
    _keep_an_admin(row, before)
    audit.record(actor=actor, action=AuditAction.USER_DELETED, target=row, before=before)
    row.delete()


def role_of(slug: str) -> Role:
    """The role of that slug. Raises AppError INVALID_INPUT, which names those that are there."""
    role = Role.objects.filter(slug=slug).first()
    if role is None:
        known = ", ".join(Role.objects.values_list("slug", flat=True))
        raise AppError(ErrorCode.INVALID_INPUT, f"role: '{slug}' is not one of {known}")
    return role


def lock_admin_role() -> Role:
    """The Admin role's row, locked: whoever changes users or removes roles takes turns here."""
    return Role.objects.select_for_update().get(slug=ADMIN_ROLE)


def describe_user(user: User) -> dict[str, Any]:
    """What the audit log keeps of a user."""
    fields: dict[str, Any] = {name: getattr(user, name) for name in _FIELDS}
    return fields | {
        "retention": user.retention,
        "role": user.role.slug,
        "is_active": user.is_active,
    }


def _locked(user: User) -> User:
    """The row as it is now, nobody else changing it."""
    lock_admin_role()
    row = User.objects.select_for_update(of=("self",)).select_related("role").filter(pk=user.pk)
    found = row.first()
    if found is None:
        raise AppError(ErrorCode.NOT_FOUND, "There is no such user.")
    return found


def _takes_standing(row: User, role: str | None, is_active: bool | None) -> bool:
    other_role = role is not None and role != row.role.slug
    return other_role or (is_active is not None and is_active != row.is_active)


def _keep_an_admin(row: User, before: dict[str, Any]) -> None:
    """Raises AppError CONFLICT where `row`, as it shall be, leaves no active Admin."""
    was = before["is_active"] and before["role"] == ADMIN_ROLE
    stays = row.is_active and row.role.slug == ADMIN_ROLE
    if not was or stays:
        return
    others = User.objects.filter(role__slug=ADMIN_ROLE, is_active=True).exclude(pk=row.pk)
    if not others.exists():
        raise AppError(
            ErrorCode.CONFLICT,
            f"'{row.username}' is the last active Admin and has to stay one.",
        )


def _record_change(actor: User | None, row: User, before: dict[str, Any]) -> None:
    """One row for what was changed, and one of its own for being let in or shut out."""
    after = describe_user(row)
    state = after.pop("is_active"), before.pop("is_active")
    changed = [name for name in after if after[name] != before[name]]
    if changed:
        audit.record(
            actor=actor,
            action=AuditAction.USER_CHANGED,
            target=row,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
        )
    if state[0] != state[1]:
        audit.record(
            actor=actor,
            action=AuditAction.USER_ACTIVATED if state[0] else AuditAction.USER_DEACTIVATED,
            target=row,
            before={"is_active": state[1]},
            after={"is_active": state[0]},
        )


def _check_fields(user: User) -> None:
    try:
        user.clean_fields(exclude=["password", "role"])
    except ValidationError as error:
        problems = [
            {"field": field, "message": " ".join(messages)}
            for field, messages in error.message_dict.items()
        ]
        first = problems[0]
        raise AppError(
            ErrorCode.INVALID_INPUT, f"{first['field']}: {first['message']}", details=problems
        ) from error


def _check_password(password: str, user: User) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise AppError(ErrorCode.INVALID_INPUT, "password: " + " ".join(error.messages)) from error
