"""Writes of accounts: one transaction each, its audit row inside."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hmac import compare_digest
from pathlib import Path

from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.api_keys import KeyText, digest_key, generate_key, parse_key
from accounts.models import ADMIN_ROLE, ApiKey, Role, User
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Scope
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.secret_files import write_once
from monitoring import audit

_LAST_USED_STEP = timedelta(minutes=1)
# Compared with where a prefix is unknown, so that both refusals do the same work.
_NO_DIGEST = "0" * 64


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
    is_admin = role == ADMIN_ROLE
    user = User.objects.create_user(
        username, email, password, role=found, is_staff=is_admin, is_superuser=is_admin
    )
    audit.record(actor=actor, action="user.created", target=user, data={"role": role})
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


@transaction.atomic
def create_api_key(
    *,
    actor: User | None,
    user: User,
    name: str,
    scopes: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, KeyText]:
    """A new key and its plain text, which exists nowhere else. Raises AppError INVALID_INPUT."""
    unknown = sorted(set(scopes) - {scope.value for scope in Scope})
    if unknown:
        known = ", ".join(scope.value for scope in Scope)
        raise AppError(ErrorCode.INVALID_INPUT, f"scopes: '{unknown[0]}' is not one of {known}")
    if not name.strip() or len(name) > 100:
        raise AppError(ErrorCode.INVALID_INPUT, "name: must have 1 to 100 characters")
    text = generate_key()
    key = ApiKey.objects.create(
        user=user,
        name=name,
        prefix=text.prefix,
        digest=digest_key(text, settings.API_KEY_PEPPER),
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
    )
    audit.record(
        actor=actor,
        action="api_key.created",
        target=key,
        data={"owner": user.username, "prefix": key.prefix, "scopes": key.scopes},
    )
    return key, text


@transaction.atomic
def revoke_api_key(*, actor: User | None, key: ApiKey) -> ApiKey:
    """Ends a key at once. Revoking it again changes nothing."""
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    if changed:
        audit.record(actor=actor, action="api_key.revoked", target=key, data={"prefix": key.prefix})
    key.refresh_from_db(fields=["revoked_at"])
    return key


def authenticate_key(text: str) -> ApiKey | None:
    """The usable key that `text` spells, its owner and rights loaded; else None.

    An unknown key and a wrong one do the same work and get the same answer.
    """
    parsed = parse_key(text)
    if parsed is None:
        return None
    key = ApiKey.objects.with_owner().filter(prefix=parsed.prefix).first()
    digest = digest_key(parsed, settings.API_KEY_PEPPER)
    matches = compare_digest(digest, key.digest if key else _NO_DIGEST)
    if key is None or not matches or not key.is_usable or not key.user.is_active:
        return None
    _note_use(key)
    return key


def _note_use(key: ApiKey) -> None:
    """At most one write a minute and key."""
    now = timezone.now()
    if key.last_used_at is not None and now - key.last_used_at < _LAST_USED_STEP:
        return
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - _LAST_USED_STEP)
    ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)
