"""The one function that writes the audit log. Call it inside the transaction of the change itself."""

from __future__ import annotations

import ipaddress
import logging
from datetime import UTC, datetime
from typing import Any

from django.db import transaction

from llamagpu.http.origin import current_origin
from llamagpu.lib.log_format import current_request_id
from monitoring.audit_actions import AuditAction, Outcome
from monitoring.audit_chain import GENESIS, hash_of, is_signed, sign_head
from monitoring.models import AuditHead, AuditLog
from monitoring.redaction import clean_text, redact

__all__ = ["GENESIS", "SYSTEM", "hash_of", "record"]

SYSTEM = "system"

logger = logging.getLogger(__name__)


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
    no place in `data`, `before` and `after`; what is named like one is redacted. Fails with the
    surrounding transaction, so no change stands without its row.
    """
    origin = current_origin.get()
    with transaction.atomic():
        head = lock_head()
        row = AuditLog(
            created_at=datetime.now(tz=UTC),
            actor=actor,
            actor_name=actor.get_username() if actor else SYSTEM,
            key_prefix=origin.key_prefix,
            ip=_address(origin.peer),
            action=action,
            outcome=outcome,
            target_type=target._meta.model_name if target is not None else "",
            target_id=str(target.pk)[:64] if target is not None else "",
            target_name=clean_text(str(target), 200) if target is not None else "",
            request_id=current_request_id.get(),
            data=redact(data or {}),
            before=redact(before),
            after=redact(after),
            previous_hash=head.hash,
        )
        row.hash = hash_of(row)
        row.save()
        _advance(head, row.hash)
    return row


def lock_head() -> AuditHead:
    """The end of the log, this transaction's alone until it ends: whoever writes waits for it."""
    head, _ = AuditHead.objects.select_for_update().get_or_create(
        pk=1, defaults={"hash": GENESIS, "num_rows": 0, "signature": sign_head(GENESIS, 0)}
    )
    return head


def _advance(head: AuditHead, newest: str) -> None:
    """Move the end. One that was tampered with is not signed anew: it stays visible."""
    intact = is_signed(head)
    head.hash = newest
    head.num_rows += 1
    if intact:
        head.signature = sign_head(head.hash, head.num_rows)
    else:
        logger.error("the end of the audit log is not as this server left it: run audit_verify")
    head.save(update_fields=["hash", "num_rows", "signature"])


def _address(peer: str) -> str | None:
    """What the column holds: no zone, and IPv4 as such."""
    if not peer:
        return None
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
