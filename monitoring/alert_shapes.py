"""Rules, silences, channels and deliveries as the API and the pages show them."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from monitoring.alerts.words import DeliveryState
from monitoring.models import AlertChannel, AlertDelivery, AlertRule, AlertSilence
from monitoring.services.alert_rules import describe_rule


def shape_rule(rule: AlertRule) -> dict[str, Any]:
    return {
        "id": rule.pk,
        **describe_rule(rule),
        "is_builtin": rule.is_builtin,
        "created_at": rule.created_at,
        "updated_at": rule.updated_at,
    }


def shape_silence(silence: AlertSilence) -> dict[str, Any]:
    return {
        "id": silence.pk,
        "rule": silence.rule.name if silence.rule else None,
        "rule_id": silence.rule_id,
        "labels": silence.labels,
        "starts_at": silence.starts_at,
        "ends_at": silence.ends_at,
        "comment": silence.comment,
        "created_by": silence.created_by,
        "created_at": silence.created_at,
        "active": silence.starts_at <= timezone.now() < silence.ends_at,
    }


def shape_channel(channel: AlertChannel) -> dict[str, Any]:
    """Never its secret, and of a webhook's address only the host."""
    return {
        "id": channel.pk,
        "name": channel.name,
        "kind": channel.kind,
        "target": channel.target,
        "min_severity": channel.min_severity,
        "is_enabled": channel.is_enabled,
        "has_secret": bool(channel.sealed_key),
        "created_at": channel.created_at,
        "updated_at": channel.updated_at,
    }


def shape_delivery(delivery: AlertDelivery) -> dict[str, Any]:
    is_waiting = delivery.state == DeliveryState.WAITING
    return {
        "id": str(delivery.pk),
        "channel": delivery.channel.name,
        "channel_id": delivery.channel_id,
        "alert": delivery.alert_id,
        "occasion": delivery.occasion,
        "state": delivery.state,
        "attempts": delivery.num_attempts,
        "next_attempt_at": delivery.next_attempt_at if is_waiting else None,
        "error": delivery.error,
        "created_at": delivery.created_at,
        "sent_at": delivery.sent_at,
    }
