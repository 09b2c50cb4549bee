"""Keeps refused attempts in the audit log: one row a minute for a caller and an address.

Without Redis nothing can be counted, and every refusal is written.
"""

from __future__ import annotations

import hashlib
import logging

import redis
from django.conf import settings
from django.db import Error

from llamagpu.http.origin import current_origin
from llamagpu.http.refusals import Refusal, add_listener
from llamagpu.lib.redis_client import sync_client
from monitoring import audit
from monitoring.audit_actions import AuditAction, Outcome

logger = logging.getLogger(__name__)

_WINDOW = 60


def register() -> None:
    add_listener(note_refusal)


def note_refusal(refusal: Refusal) -> None:
    """Write ACCESS_REFUSED unless the like has been written within the last minute."""
    if not _is_first(refusal):
        return
    try:
        audit.record(
            actor=refusal.user,
            action=AuditAction.ACCESS_REFUSED,
            target=None,
            data={
                "method": refusal.method,
                "route": refusal.route,
                "rule": refusal.rule,
                "reason": refusal.reason,
            },
            outcome=Outcome.REFUSED,
        )
    except Error as error:
        logger.error("a refused attempt could not be written: %s", error)


def _is_first(refusal: Refusal) -> bool:
    """Whether nothing like it was refused within the window."""
    caller = f"user:{refusal.user.pk}" if refusal.user else f"peer:{current_origin.get().peer}"
    # An address without a key has one row whatever it tries; a user one for each kind of call.
    deed = f"{refusal.method} {refusal.route}" if refusal.user else "attempts"
    digest = hashlib.sha256(f"{caller} {deed}".encode()).hexdigest()[:32]
    try:
        client = sync_client(settings.REDIS_URL)
        return bool(client.set(f"lg:refused:{digest}", b"1", ex=_WINDOW, nx=True))
    except redis.RedisError:
        return True
