"""Writes of users: one transaction each, its audit row inside."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.models import ADMIN_ROLE, Role, User
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.secret_files import write_once
from monitoring import audit
from monitoring.audit_actions import AuditAction


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """Outcome of `ensure_first_admin`; `password_file` is set when the password was made up."""

    created: bool
    username: str
    password_file: Path | None


@transaction.atomic
def create_user(
    *, actor: User | None, username: str, password: str, role: str, email: str = ""
) -> User:
    """A new user with the role of that slug. Raises AppError CONFLICT or INVALID_INPUT."""
    found = Role.objects.filter(slug=role).first()
    if found is None:
        known = ", ".join(Role.objects.values_list("slug", flat=True))
        raise AppError(ErrorCode.INVALID_INPUT, f"role: '{role}' is not one of {known}")
    if User.objects.filter(username=username).exists():
        raise AppError(ErrorCode.CONFLICT, f"username: '{username}' is taken")
    candidate = User(username=username, email=email, role=found)
    try:
        User.username_validator(username)
        validate_password(password, candidate)
    except ValidationError as error:
        raise AppError(ErrorCode.INVALID_INPUT, " ".join(error.messages)) from error
    user = User.objects.create_user(username, email, password, role=found)
    audit.record(actor=actor, action=AuditAction.USER_CREATED, target=user, data={"role": role})
    return user


def ensure_first_admin() -> FirstAdmin:
    """Makes the first Admin where the database has none.

    The password comes from LLAMA_ADMIN_PASSWORD, else a random one is written once to
    `<data dir>/initial_admin_password`, readable by its owner alone.
    """
    username = settings.LLAMA.admin_username
    admin = User.objects.filter(role__slug=ADMIN_ROLE).order_by("id").first()
    path: Path = settings.LLAMA.data_dir / "initial_admin_password"
    if admin is not None:
        return FirstAdmin(False, admin.username, path if path.exists() else None)
    password = settings.INITIAL_ADMIN_PASSWORD
    if not password:
        path.unlink(missing_ok=True)  # of a database that is gone
        write_once(path, secrets.token_urlsafe(18))
        password = path.read_text(encoding="utf-8").strip()
    create_user(actor=None, username=username, password=password, role=ADMIN_ROLE)
    return FirstAdmin(True, username, None if settings.INITIAL_ADMIN_PASSWORD else path)
