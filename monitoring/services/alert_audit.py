"""What becomes of alerts, in the audit log: one row when one fires and one when it is over.

A rule that flaps must not fill a log from which nothing is removed: of each rule a number of alerts an
hour have rows, the last of which says so. All of them stand in the history of alerts.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from monitoring import audit
from monitoring.audit_actions import AuditAction, Outcome
from monitoring.models import Alert, AlertDelivery

#: Alerts of one rule that get rows within an hour.
MOST_AN_HOUR = 100
_HOUR = timedelta(hours=1)


def audit_fired(alerts: Iterable[Alert]) -> None:
    """Part of the caller's transaction; call it last there: whoever writes waits for the log's end."""
    for alert in alerts:
        num_told = _num_told(alert)
        if num_told >= MOST_AN_HOUR:
            continue
        data = _facts(alert)
        if num_told == MOST_AN_HOUR - 1:
            data["more"] = "alerts of this rule have no rows here for up to an hour"
        audit.record(actor=None, action=AuditAction.ALERT_FIRED, target=alert, data=data)
        alert.is_audited = True
        alert.save(update_fields=["is_audited"])


def audit_resolved(alerts: Iterable[Alert]) -> None:
    """Of those whose beginning has a row. As `audit_fired`."""
    for alert in alerts:
        if alert.is_audited:
            audit.record(
                actor=None, action=AuditAction.ALERT_RESOLVED, target=alert, data=_facts(alert)
            )


def audit_given_up(delivery: AlertDelivery) -> None:
    """A message that its receiver never got. Part of the caller's transaction."""
    alert = delivery.alert
    audit.record(
        actor=None,
        action=AuditAction.ALERT_NOT_DELIVERED,
        target=delivery.channel,
        outcome=Outcome.FAILED,
        data={
            "occasion": delivery.occasion,
            "alert": alert.pk if alert else None,
            "rule": alert.rule_name if alert else None,
            "attempts": delivery.num_attempts,
            "reason": delivery.error,
        },
    )


def _facts(alert: Alert) -> dict[str, Any]:
    return {
        "rule": alert.rule_name,
        "severity": alert.severity,
        "labels": alert.labels,
        "value": alert.value,
        "summary": alert.summary,
    }


def _num_told(alert: Alert) -> int:
    since = timezone.now() - _HOUR
    told = Alert.objects.filter(rule_id=alert.rule_id, started_at__gte=since, is_audited=True)
    return told.count()
