"""Writes of silences: alerts that are known and not to be sent for a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.models import AlertRule, AlertSilence
from monitoring.services.alert_rules import check_labels
from monitoring.services.plain_text import check_line, invalid

LONGEST = timedelta(days=90)
MAX_ACTIVE = 500


@transaction.atomic
def create_silence(
    *,
    actor: Any,
    ends_at: datetime,
    comment: str,
    rule: AlertRule | None = None,
    labels: Mapping[str, str] | None = None,
    starts_at: datetime | None = None,
) -> AlertSilence:
    """Raises AppError INVALID_INPUT that names the field; CONFLICT where there are too many."""
    now = timezone.now()
    begins = starts_at or now
    if ends_at <= max(begins, now):
        raise invalid("ends_at", "must lie after its beginning and in the future")
    if ends_at - now > LONGEST:
        raise invalid("ends_at", f"must lie within {LONGEST.days} days")
    if rule is None and not labels:
        raise invalid("rule", "name a rule, labels or both: everything cannot be silenced at once")
    check_labels(dict(labels or {}), rule.metric if rule else "")
    if AlertSilence.objects.filter(ends_at__gt=now).count() >= MAX_ACTIVE:
        raise AppError(ErrorCode.CONFLICT, f"There are {MAX_ACTIVE} silences already.")
    silence = AlertSilence.objects.create(
        rule=rule,
        labels=dict(labels or {}),
        starts_at=begins,
        ends_at=ends_at,
        comment=check_line("comment", comment, 300),
        created_by=actor.get_username() if actor else audit.SYSTEM,
    )
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_SILENCED,
        target=silence,
        after=describe_silence(silence),
    )
    return silence


@transaction.atomic
def end_silence(*, actor: Any, silence: AlertSilence) -> None:
    """From now on alerts are sent again, also those that still fire. Ended twice it stays ended."""
    row = AlertSilence.objects.select_for_update().filter(pk=silence.pk).first()
    now = timezone.now()
    if row is None or row.ends_at <= now:
        return
    row.ends_at = now
    row.starts_at = min(row.starts_at, now)
    row.save(update_fields=["starts_at", "ends_at"])
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_SILENCE_ENDED,
        target=row,
        data=describe_silence(row),
    )


def describe_silence(silence: AlertSilence) -> dict[str, Any]:
    return {
        "rule": silence.rule.name if silence.rule else None,
        "labels": silence.labels,
        "starts_at": silence.starts_at.isoformat(),
        "ends_at": silence.ends_at.isoformat(),
        "comment": silence.comment,
    }
