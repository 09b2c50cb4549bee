"""Writes of API keys: one transaction each, its audit row inside.

`actor` is who asks, None for the command line. `acting_key` is the key with which they ask, None for
a session: an Admin's key may do what its owner may, any other one makes no key wider than itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.api_keys import KeyText, digest_key, generate_key
from accounts.key_settings import check_settings, check_within
from accounts.models import ApiKey, LimitPolicy, User
from accounts.services.authority import require_authority
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Action, Resource
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction

DEFAULT_GRACE = timedelta(hours=24)
MAX_GRACE = timedelta(days=30)

_SETTINGS = ("name", "scopes", "allowed_models", "allowed_ips", "retention", "expires_at")


@transaction.atomic
def create_api_key(
    *,
    actor: User | None,
    user: User,
    name: str,
    scopes: Sequence[str] = (),
    allowed_models: Sequence[str] = (),
    allowed_ips: Sequence[str] = (),
    retention: str = "",
    expires_at: datetime | None = None,
    acting_key: ApiKey | None = None,
) -> tuple[ApiKey, KeyText]:
    """A new key of `user` and its plain text, which exists nowhere else.

    An empty list narrows nothing. Raises AppError: INVALID_INPUT for a setting that cannot be, or a
    scope beyond the owner's role; PERMISSION_DENIED for another's key without the right to manage it.
    """
    _check_actor(actor, user)
    chosen = check_settings(
        user,
        {
            "name": name,
            "scopes": scopes,
            "allowed_models": allowed_models,
            "allowed_ips": allowed_ips,
            "retention": retention,
            "expires_at": expires_at,
        },
    )
    _check_bound(actor, acting_key, chosen)
    if not user.is_active:
        raise AppError(ErrorCode.CONFLICT, f"user: '{user.username}' is deactivated")
    key, text = _insert(user, chosen)
    audit.record(
        actor=actor,
        action=AuditAction.KEY_CREATED,
        target=key,
        data=_identity(key),
        after=describe_settings(key),
    )
    return key, text


@transaction.atomic
def change_api_key(
    *,
    actor: User | None,
    key: ApiKey,
    changes: Mapping[str, Any],
    acting_key: ApiKey | None = None,
) -> ApiKey:
    """The key with `changes` to name, scopes, allowed_models, allowed_ips, retention or expires_at.

    What is not named stays. Raises AppError as `create_api_key` does, and CONFLICT for a key that
    has ended.
    """
    _check_actor(actor, key.user)
    current = _lock_usable(key)
    checked = check_settings(current.user, changes)
    before = describe_settings(current)
    for field, value in checked.items():
        setattr(current, field, value)
    _check_bound(actor, acting_key, _settings_of(current))
    after = describe_settings(current)
    changed = [field for field in _SETTINGS if before[field] != after[field]]
    if changed:
        current.save(update_fields=changed)
        audit.record(
            actor=actor,
            action=AuditAction.KEY_CHANGED,
            target=current,
            data=_identity(current),
            before={field: before[field] for field in changed},
            after={field: after[field] for field in changed},
        )
    return current


@transaction.atomic
def rotate_api_key(
    *,
    actor: User | None,
    key: ApiKey,
    grace: timedelta = DEFAULT_GRACE,
    acting_key: ApiKey | None = None,
) -> tuple[ApiKey, KeyText]:
    """A new key with the settings and limits of `key`, which ends after `grace`; zero ends it at once.

    Raises AppError INVALID_INPUT for an impossible grace, CONFLICT for a key that has ended or has
    been rotated already, PERMISSION_DENIED as `create_api_key` does.
    """
    if not timedelta(0) <= grace <= MAX_GRACE:
        most = int(MAX_GRACE.total_seconds())
        raise AppError(ErrorCode.INVALID_INPUT, f"grace_seconds: must be 0 to {most}")
    _check_actor(actor, key.user)
    old = _lock_usable(key)
    _check_bound(actor, acting_key, _settings_of(old))
    successor = ApiKey.objects.filter(replaces=old).first()
    if successor is not None:
        raise AppError(
            ErrorCode.CONFLICT, f"This key has been rotated already, to lg_{successor.prefix}_…"
        )
    now = timezone.now()
    new, text = _insert(old.user, _settings_of(old), replaces=old)
    _copy_limits(old, new)
    before = describe_settings(old)
    if grace:
        old.expires_at = min(filter(None, (old.expires_at, now + grace)))
    else:
        old.revoked_at = now
    old.save(update_fields=["expires_at", "revoked_at"])
    audit.record(
        actor=actor,
        action=AuditAction.KEY_ROTATED,
        target=old,
        data={**_identity(old), "successor": new.prefix, "grace_seconds": grace.total_seconds()},
        before={"expires_at": before["expires_at"]},
        after={"expires_at": describe_settings(old)["expires_at"], "revoked": not grace},
    )
    return new, text


@transaction.atomic
def revoke_api_key(*, actor: User | None, key: ApiKey) -> ApiKey:
    """Ends a key at once. Revoking it again changes nothing. Raises AppError PERMISSION_DENIED."""
    _check_actor(actor, key.user)
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    if changed:
        audit.record(actor=actor, action=AuditAction.KEY_REVOKED, target=key, data=_identity(key))
    key.refresh_from_db(fields=["revoked_at"])
    return key


def describe_settings(key: ApiKey) -> dict[str, Any]:
    """What can be chosen about `key`, JSON-ready."""
    expires_at = key.expires_at.isoformat() if key.expires_at else None
    return {**_settings_of(key), "expires_at": expires_at}


def _settings_of(key: ApiKey) -> dict[str, Any]:
    return {field: getattr(key, field) for field in _SETTINGS}


def _identity(key: ApiKey) -> dict[str, str]:
    return {"owner": key.user.username, "prefix": key.prefix}


def _insert(
    user: User, chosen: Mapping[str, Any], replaces: ApiKey | None = None
) -> tuple[ApiKey, KeyText]:
    text = generate_key()
    key = ApiKey.objects.create(
        user=user,
        prefix=text.prefix,
        digest=digest_key(text, settings.API_KEY_PEPPER),
        replaces=replaces,
        **chosen,
    )
    return key, text


def _copy_limits(old: ApiKey, new: ApiKey) -> None:
    """A limit that an Admin gave to a key is not shed by rotating the key."""
    policy = LimitPolicy.objects.filter(api_key=old).first()
    if policy is not None:
        policy.pk = None
        policy._state.adding = True
        policy.api_key = new
        policy.save()


def _lock_usable(key: ApiKey) -> ApiKey:
    """The row as it is now, held until the transaction ends."""
    current = ApiKey.objects.select_for_update().get(pk=key.pk)
    current.user = key.user
    if not current.is_usable:
        state = "revoked" if current.revoked_at else "expired"
        raise AppError(ErrorCode.CONFLICT, f"This key is {state}: make a new one.")
    return current


def _check_actor(actor: User | None, owner: User) -> None:
    if actor is None or actor.pk == owner.pk:
        return
    if not _manages_all(actor):
        raise AppError(ErrorCode.PERMISSION_DENIED, "Only an Admin manages the keys of others.")
    # A key may what its owner may: who makes one for an Admin would be an Admin.
    require_authority(actor, owner.role, "manage this user's keys")


def _check_bound(
    actor: User | None, acting_key: ApiKey | None, settings: Mapping[str, Any]
) -> None:
    if acting_key is not None and not (actor is not None and _manages_all(actor)):
        check_within(settings, acting_key)


def _manages_all(actor: User) -> bool:
    return actor.can(Resource.SYSTEM_CONFIG, Action.WRITE)
