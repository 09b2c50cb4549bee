"""Reads of the audit log. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from django.db import models

from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from monitoring.models import AuditLog  # noqa: F401  named in the annotations below


class AppendOnlyError(Exception):
    """Somebody tried to change or remove an audit row."""


# Filter of the API and the page -> how it is asked of the table.
_LOOKUPS = {
    "actor": "actor_name",
    "action": "action",
    "outcome": "outcome",
    "target_type": "target_type",
    "target_id": "target_id",
    "ip": "ip",
    "key": "key_prefix",
    "request_id": "request_id",
    "since": "created_at__gte",
    "until": "created_at__lt",
}
_SEARCHED = ("actor_name", "action", "target_id", "target_name", "request_id", "key_prefix")


class AuditLogQuerySet(models.QuerySet["AuditLog"]):
    """Rows can be read and, one by one through `audit.record`, added. All else raises."""

    def visible_to(self, user: Any) -> AuditLogQuerySet:
        """All of it for who may read the system configuration; nothing for others."""
        return self if user.can(Resource.SYSTEM_CONFIG, Action.READ) else self.none()

    def matching(self, filters: Mapping[str, Any]) -> AuditLogQuerySet:
        """The rows that fit all of `filters`; names as in docs/security.md, `q` searches by words."""
        rows = self.filter(
            **{_LOOKUPS[name]: value for name, value in filters.items() if name in _LOOKUPS}
        )
        for word in str(filters.get("q", "")).split():
            found = models.Q()
            for field in _SEARCHED:
                found |= models.Q(**{f"{field}__icontains": word})
            rows = rows.filter(found)
        return rows

    def update(self, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError("audit rows are never changed")

    def _update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError("audit rows are never changed")

    def bulk_update(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError("audit rows are never changed")

    def bulk_create(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError("audit rows are added one by one, each chained to the one before")

    def delete(self) -> NoReturn:
        raise AppendOnlyError("audit rows are never removed")

    def _raw_delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise AppendOnlyError("audit rows are never removed")
