"""Writes of alerts: raised, ended, told, acknowledged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.prepared_query import PreparedQuery
from monitoring import audit
from monitoring.alert_querysets import AlertQuerySet
from monitoring.alerts.evaluator import Changes, Standing
from monitoring.alerts.labels import in_words, matches
from monitoring.alerts.words import AlertState, Occasion, severities_from
from monitoring.audit_actions import AuditAction
from monitoring.live_events import ALERT_EVENTS, publish
from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule, AlertSilence
from monitoring.services.alert_audit import audit_fired, audit_resolved
from monitoring.services.plain_text import check_line

# Asked every second: Django takes longer to build it than a database to answer.
_UNTOLD = PreparedQuery(
    lambda: Alert.objects.firing().filter(notified_at=None).order_by().values_list("pk")[:1]
)


def apply_changes(changes: Changes, rules: Mapping[int, AlertRule]) -> None:
    """What one round of the evaluation has found, in one transaction. Raises DatabaseError."""
    is_quiet = not changes.firing and not changes.over
    if is_quiet and _UNTOLD.first() is None:
        return
    with transaction.atomic():
        raised = [_raise(standing, rules[standing.rule_id]) for standing in changes.firing]
        over = Alert.objects.firing().filter(fingerprint__in=changes.over)
        ended = _end(over) if changes.over else []
        _tell_new()
        audit_fired(alert for alert in raised if alert is not None)
        audit_resolved(ended)


def resolve(alerts: AlertQuerySet) -> int:
    """End these; whoever was told of them is told of that too. Part of the caller's transaction."""
    ended = _end(alerts)
    audit_resolved(ended)
    return len(ended)


def _end(alerts: AlertQuerySet) -> list[Alert]:
    now, ended = timezone.now(), []
    for alert in alerts.select_for_update():
        alert.state, alert.resolved_at = AlertState.RESOLVED, now
        alert.save(update_fields=["state", "resolved_at"])
        told = alert.deliveries.filter(occasion=Occasion.FIRING).select_related("channel")
        _deliver(alert, [delivery.channel for delivery in told], Occasion.RESOLVED)
        _publish("alert_resolved", alert)
        ended.append(alert)
    return ended


@transaction.atomic
def acknowledge(*, actor: Any, alert: Alert, note: str = "") -> Alert:
    """Somebody sees to it. It is not sent any more where it was not yet.

    Raises AppError CONFLICT for an alert that is over or acknowledged, INVALID_INPUT for the note.
    """
    row = Alert.objects.select_for_update().get(pk=alert.pk)
    if row.state != AlertState.FIRING:
        raise AppError(ErrorCode.CONFLICT, "The alert is over already.")
    if row.acknowledged_at is not None:
        raise AppError(ErrorCode.CONFLICT, f"{row.acknowledged_by} has acknowledged it already.")
    row.note = check_line("note", note, 300, may_be_empty=True)
    row.acknowledged_at, row.acknowledged_by = timezone.now(), actor.get_username()
    row.save(update_fields=["acknowledged_at", "acknowledged_by", "note"])
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_ACKNOWLEDGED,
        target=row,
        data={"rule": row.rule_name, "labels": row.labels, "note": row.note},
    )
    _publish("alert_acknowledged", row)
    return row


def describe_alert(alert: Alert) -> dict[str, Any]:
    """An alert as API, messages and watchers get it."""
    return {
        "id": alert.pk,
        "rule": alert.rule_name,
        "rule_id": alert.rule_id,
        "state": alert.state,
        "severity": alert.severity,
        "summary": alert.summary,
        "labels": alert.labels,
        "value": alert.value,
        "started_at": alert.started_at.isoformat(),
        "resolved_at": alert.resolved_at.isoformat() if alert.resolved_at else None,
        "notified_at": alert.notified_at.isoformat() if alert.notified_at else None,
        "acknowledged_at": alert.acknowledged_at.isoformat() if alert.acknowledged_at else None,
        "acknowledged_by": alert.acknowledged_by or None,
        "note": alert.note,
    }


def is_silenced(alert: Alert, silences: Iterable[AlertSilence]) -> bool:
    return any(
        silence.rule_id in (None, alert.rule_id) and matches(silence.labels, alert.labels)
        for silence in silences
    )


def _raise(standing: Standing, rule: AlertRule) -> Alert | None:
    alert = Alert(
        rule=rule,
        rule_name=rule.name,
        fingerprint=standing.fingerprint,
        labels=standing.labels,
        severity=rule.severity,
        summary=_summary(standing, rule),
        value=standing.value,
    )
    try:
        with transaction.atomic():
            alert.save(force_insert=True)
    except IntegrityError:
        return None  # another leader, on its way out, has raised it
    _publish("alert_firing", alert)
    return alert


def _summary(standing: Standing, rule: AlertRule) -> str:
    where = f" ({in_words(standing.labels)})" if standing.labels else ""
    found = f"{rule.metric} is {standing.value:.6g}, {rule.comparison} {rule.threshold:g}"
    more = f" {rule.summary}" if rule.summary else ""
    return f"{rule.name}{where}: {found}.{more}"[:600]


def _tell_new() -> None:
    """Send what nobody was told of yet and no silence keeps back; when one ends, it is sent then."""
    now = timezone.now()
    waiting = list(Alert.objects.firing().filter(notified_at=None, acknowledged_at=None))
    if not waiting:
        return
    silences = list(AlertSilence.objects.active(now))
    channels = list(AlertChannel.objects.filter(is_enabled=True))
    for alert in waiting:
        if is_silenced(alert, silences):
            continue
        wanted = [one for one in channels if alert.severity in severities_from(one.min_severity)]
        _deliver(alert, wanted, Occasion.FIRING)
        alert.notified_at = now
        alert.save(update_fields=["notified_at"])


def _deliver(alert: Alert, channels: Iterable[AlertChannel], occasion: Occasion) -> None:
    AlertDelivery.objects.bulk_create(
        [
            AlertDelivery(
                channel=channel, alert=alert, occasion=occasion, body=message_of(alert, occasion)
            )
            for channel in channels
        ],
        ignore_conflicts=True,
    )


def message_of(alert: Alert, occasion: Occasion) -> dict[str, Any]:
    """What a channel gets."""
    base = settings.LLAMA.public_url
    return {
        "event": f"alert.{occasion.value}",
        "alert": describe_alert(alert),
        "url": f"{base}/alerts" if base else None,
    }


def _publish(event: str, alert: Alert) -> None:
    data = describe_alert(alert)
    transaction.on_commit(lambda: publish(ALERT_EVENTS, event, data))
