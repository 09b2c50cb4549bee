"""Taking the audit log out of the portal is itself a deed that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import transaction

from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.models import AuditLog
from monitoring.querysets import AuditLogQuerySet


@transaction.atomic
def begin_export(*, actor: Any, filters: Mapping[str, Any], form: str) -> AuditLogQuerySet:
    """The rows that `actor` may see and that match, up to the one which says that they were taken."""
    row = audit.record(
        actor=actor,
        action=AuditAction.AUDIT_EXPORTED,
        target=None,
        data={
            "form": form,
            "filters": {
                # Not named like secrets: a filter called `key` holds a prefix.
                "key_prefix" if name == "key" else name: str(value)
                for name, value in filters.items()
            },
        },
    )
    return AuditLog.objects.visible_to(actor).matching(filters).filter(id__lte=row.pk)
