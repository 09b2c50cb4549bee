"""The one function that writes the audit log. Call it inside the transaction of the change itself."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from llamagpu.lib.log_format import current_request_id
from monitoring.models import AuditHead, AuditLog

GENESIS = "0" * 64
SYSTEM = "system"


def record(*, actor: Any, action: str, target: Any, data: dict[str, Any] | None = None) -> AuditLog:
    """Append one row. `actor` is a user, or None for the system itself.

    Fails with the surrounding transaction, so no change stands without its row.
    """
    with transaction.atomic():
        head, _ = AuditHead.objects.select_for_update().get_or_create(
            pk=1, defaults={"hash": GENESIS}
        )
        row = AuditLog(
            created_at=datetime.now(tz=UTC),
            actor=actor,
            actor_name=actor.get_username() if actor else SYSTEM,
            action=action,
            target_type=target._meta.model_name,
            target_id=str(target.pk),
            request_id=current_request_id.get(),
            data=data or {},
            previous_hash=head.hash,
        )
        row.hash = hash_of(row)
        row.save()
        head.hash = row.hash
        head.save(update_fields=["hash"])
    return row


def hash_of(row: AuditLog) -> str:
    """SHA-256 over the row's contents and the hash before it."""
    content = [
        row.previous_hash,
        row.created_at.isoformat(),
        row.actor_id,
        row.actor_name,
        row.action,
        row.target_type,
        row.target_id,
        row.request_id,
        row.data,
    ]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
