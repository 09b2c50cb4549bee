"""A key as people and programs see it. Never its secret, which nobody knows any more."""

from __future__ import annotations

from typing import Any

from accounts.models import ApiKey


def describe_key(key: ApiKey) -> dict[str, Any]:
    """JSON-ready; times are RFC 3339. Load the rows by `ApiKeyQuerySet.with_relatives()`."""
    successor = getattr(key, "successor", None)
    return {
        "id": key.pk,
        "prefix": key.prefix,
        "name": key.name,
        "user": key.user.username,
        "state": key.state,
        "scopes": key.scopes,
        "allowed_models": key.allowed_models,
        "allowed_ips": key.allowed_ips,
        "retention": key.retention or None,
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
        "replaces": key.replaces.prefix if key.replaces else None,
        "replaced_by": successor.prefix if successor else None,
    }


def _time(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None
