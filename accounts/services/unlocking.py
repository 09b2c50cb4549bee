"""Lets somebody try to sign in again who failed too often."""

from __future__ import annotations

from axes.models import AccessAttempt
from django.db import transaction

from accounts.models import User
from monitoring import audit
from monitoring.audit_actions import AuditAction


@transaction.atomic
def forget_failures(*, actor: User | None, attempt: AccessAttempt) -> None:
    """Forgets the failed sign-ins of one name from one address, and so unlocks it."""
    named = {"username": attempt.username, "ip_address": attempt.ip_address}
    AccessAttempt.objects.filter(**named).delete()
    user = User.objects.filter(username=attempt.username or "").first()
    audit.record(
        actor=actor,
        action=AuditAction.LOGIN_UNLOCKED,
        target=user,
        data={"address": attempt.ip_address, "failures": attempt.failures_since_start},
    )
