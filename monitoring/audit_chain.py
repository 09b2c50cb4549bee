"""How audit rows hang together: each hash covers its row and the hash before it.

The end of the chain is signed with the server's pepper, so that rewriting the whole chain needs more
than the database. Forms of a row's hash (`hash_version`): 1 from before key, address, outcome and the
values before and after were kept; 2 covers all columns but the id, whose order the chain gives.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
from datetime import UTC
from typing import Any

from django.conf import settings

GENESIS = "0" * 64


def hash_of(row: Any) -> str:
    """SHA-256 over the row's contents and the hash before it, in hex."""
    content = [
        row.previous_hash,
        row.created_at.astimezone(UTC).isoformat(),
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
            _canonical_address(row.ip),
            row.outcome,
            row.target_name,
            row.before,
            row.after,
        ]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def sign_head(hash_value: str, num_rows: int) -> str:
    """HMAC-SHA-256 of the end of the chain under a key derived from the pepper, in hex."""
    key = hmac.new(settings.API_KEY_PEPPER.encode(), b"audit head", hashlib.sha256).digest()
    return hmac.new(key, f"{num_rows}:{hash_value}".encode(), hashlib.sha256).hexdigest()


def is_signed(head: Any) -> bool:
    """Whether `head` says what this server has written last."""
    return hmac.compare_digest(head.signature, sign_head(head.hash, head.num_rows))


def _canonical_address(ip: str | None) -> str | None:
    """One spelling: databases write IPv6 in their own way."""
    return str(ipaddress.ip_address(ip)) if ip else None
