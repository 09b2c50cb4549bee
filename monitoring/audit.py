"""The one function that writes the audit log. Call it inside the transaction of the change itself."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from llamagpu.http.origin import current_origin
from llamagpu.lib.log_format import current_request_id
from monitoring.audit_actions import AuditAction, Outcome
from monitoring.models import AuditHead, AuditLog

GENESIS = "0" * 64
SYSTEM = "system"


def record(
    *,
    actor: Any,
    action: AuditAction,
    target: Any,
    data: dict[str, Any] | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    outcome: Outcome = Outcome.DONE,
) -> AuditLog:
    """Append one row. `actor` is a user, or None for the system itself; `target` a row or None.

    Address, key and request id come from the request that is being served. Secrets and prompts have
    no place in `data`, `before` and `after`. Fails with the surrounding transaction, so no change
    stands without its row.
    """
    origin = current_origin.get()
    with transaction.atomic():
        head, _ = AuditHead.objects.select_for_update().get_or_create(
            pk=1, defaults={"hash": GENESIS}
        )
        row = AuditLog(
            created_at=datetime.now(tz=UTC),
            actor=actor,
            actor_name=actor.get_username() if actor else SYSTEM,
            key_prefix=origin.key_prefix,
            ip=origin.peer or None,
            action=action,
            outcome=outcome,
            target_type=target._meta.model_name if target is not None else "",
            target_id=str(target.pk) if target is not None else "",
            target_name=str(target)[:200] if target is not None else "",
            request_id=current_request_id.get(),
            data=data or {},
            before=before,
            after=after,
            previous_hash=head.hash,
        )
        row.hash = hash_of(row)
        row.save()
        head.hash = row.hash
        head.save(update_fields=["hash"])
    return row


def hash_of(row: AuditLog) -> str:
    """SHA-256 over the row's contents and the hash before it, in the form of its `hash_version`."""
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
    if row.hash_version >= 2:
        content += [
            row.hash_version,
            row.key_prefix,
            row.ip,
            row.outcome,
            row.target_name,
            row.before,
            row.after,
        ]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
