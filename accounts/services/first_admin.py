"""The first Admin of a fresh database: exactly one, however many processes start at once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import transaction

from accounts.models import ADMIN_ROLE, User
from accounts.services.users import create_user, lock_admin_role
from llamagpu.lib.secret_files import write_once


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """Outcome of `ensure_first_admin`; `password_file` is set when the password was made up."""

    created: bool
    username: str
    password_file: Path | None


def ensure_first_admin() -> FirstAdmin:
    """Makes the first Admin where the database has none.

    The password comes from LLAMA_ADMIN_PASSWORD, else a random one is written once to
    `<data dir>/initial_admin_password`, readable by its owner alone. Raises AppError.
    """
    present = _present_admin()
    if present is not None:
        return present
    with transaction.atomic():
        lock_admin_role()
        # Somebody may have been faster while we waited for the lock.
        return _present_admin() or _make_first_admin()


def _present_admin() -> FirstAdmin | None:
    admin = User.objects.filter(role__slug=ADMIN_ROLE).order_by("id").first()
    if admin is None:
        return None
    path = _password_file()
    return FirstAdmin(False, admin.username, path if path.exists() else None)


def _make_first_admin() -> FirstAdmin:
    """Under the lock, so that the password in the file is the one in the database."""
    username = settings.LLAMA.admin_username
    given: str = settings.INITIAL_ADMIN_PASSWORD
    path = _password_file()
    password = given
    if not password:
        path.unlink(missing_ok=True)  # of a database that is gone
        password = secrets.token_urlsafe(18)
        write_once(path, password)
    create_user(actor=None, username=username, password=password, role=ADMIN_ROLE)
    return FirstAdmin(True, username, None if given else path)


def _password_file() -> Path:
    path: Path = settings.LLAMA.data_dir / "initial_admin_password"
    return path
