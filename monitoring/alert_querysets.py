"""Reads of alerts and of what belongs to them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models

from llamagpu.http.permissions import Action, Resource
from monitoring.alerts.words import AlertState, DeliveryState

if TYPE_CHECKING:
    from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertSilence  # noqa: F401


class AlertQuerySet(models.QuerySet["Alert"]):
    def firing(self) -> AlertQuerySet:
        return self.filter(state=AlertState.FIRING)

    def matching(self, filters: dict[str, Any]) -> AlertQuerySet:
        """`filters` as `AlertFilters` has checked them."""
        rows = self
        for name in ("state", "severity"):
            if name in filters:
                rows = rows.filter(**{name: filters[name]})
        if "rule" in filters:
            rows = rows.filter(rule_id=filters["rule"])
        if "since" in filters:
            rows = rows.filter(started_at__gte=filters["since"])
        if "until" in filters:
            rows = rows.filter(started_at__lt=filters["until"])
        return rows


class AlertSilenceQuerySet(models.QuerySet["AlertSilence"]):
    def active(self, now: datetime) -> AlertSilenceQuerySet:
        return self.filter(starts_at__lte=now, ends_at__gt=now)


class AlertChannelQuerySet(models.QuerySet["AlertChannel"]):
    def visible_to(self, user: Any) -> AlertChannelQuerySet:
        """Addresses of people and of other systems are for who manages them."""
        return self if user.can(Resource.MONITORING, Action.WRITE) else self.none()


class AlertDeliveryQuerySet(models.QuerySet["AlertDelivery"]):
    def visible_to(self, user: Any) -> AlertDeliveryQuerySet:
        return self if user.can(Resource.MONITORING, Action.WRITE) else self.none()

    def due(self, now: datetime) -> AlertDeliveryQuerySet:
        return self.filter(state=DeliveryState.WAITING, next_attempt_at__lte=now)
