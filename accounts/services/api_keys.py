"""Writes of API keys: one transaction each, its audit row inside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from hmac import compare_digest

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.api_keys import KeyText, digest_key, generate_key, parse_key
from accounts.models import ApiKey, User
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import Scope
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction

_LAST_USED_STEP = timedelta(minutes=1)
# Compared with where a prefix is unknown, so that both refusals do the same work.
_NO_DIGEST = "0" * 64


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
        action=AuditAction.KEY_CREATED,
        target=key,
        data={"owner": user.username, "prefix": key.prefix, "scopes": key.scopes},
    )
    return key, text


@transaction.atomic
def revoke_api_key(*, actor: User | None, key: ApiKey) -> ApiKey:
    """Ends a key at once. Revoking it again changes nothing."""
    changed = ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    if changed:
        audit.record(
            actor=actor, action=AuditAction.KEY_REVOKED, target=key, data={"prefix": key.prefix}
        )
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
