"""Tables of alerts: rules, what has fired, what is silenced, where it is told, each telling."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone

from monitoring.alert_querysets import (
    AlertChannelQuerySet,
    AlertDeliveryQuerySet,
    AlertQuerySet,
    AlertSilenceQuerySet,
)
from monitoring.alerts.words import (
    AlertState,
    ChannelKind,
    Comparison,
    DeliveryState,
    Occasion,
    Severity,
)


def _choices(*words: str) -> list[tuple[str, str]]:
    return [(str(word), str(word)) for word in words]


class AlertRule(models.Model):
    """Fires for every series of `metric` with these labels whose value compares so for `duration`."""

    name = models.CharField(max_length=100, unique=True)
    summary = models.CharField(
        max_length=300, blank=True, help_text="what it means and where to look"
    )
    metric = models.CharField(max_length=120)
    labels = models.JSONField(
        default=dict, blank=True, help_text="only series with these labels; * ends a beginning"
    )
    comparison = models.CharField(max_length=2, choices=_choices(*Comparison), default=">")
    threshold = models.FloatField()
    duration = models.PositiveIntegerField(default=60, help_text="seconds that it must hold")
    window = models.PositiveIntegerField(
        default=300, help_text="seconds that counts, changes, ratios and percentiles are taken over"
    )
    quantile = models.FloatField(default=0.95, help_text="of a histogram, such as 0.95")
    severity = models.CharField(max_length=8, choices=_choices(*Severity), default="warning")
    is_enabled = models.BooleanField(default=True)
    is_builtin = models.BooleanField(default=False, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Alert(models.Model):
    """One time that a rule fired for one series. It keeps what the rule was called then."""

    rule = models.ForeignKey(AlertRule, null=True, on_delete=models.SET_NULL, related_name="alerts")
    rule_name = models.CharField(max_length=100)
    fingerprint = models.CharField(max_length=32)
    labels = models.JSONField(default=dict)
    severity = models.CharField(max_length=8, choices=_choices(*Severity))
    state = models.CharField(max_length=8, choices=_choices(*AlertState), default="firing")
    summary = models.CharField(max_length=600)
    value = models.FloatField()
    started_at = models.DateTimeField(default=timezone.now)
    resolved_at = models.DateTimeField(null=True)
    notified_at = models.DateTimeField(null=True)
    acknowledged_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True)
    note = models.CharField(max_length=300, blank=True)
    is_audited = models.BooleanField(default=False, editable=False)

    objects = AlertQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            # Two leaders that overlap for a moment cannot both raise it.
            models.UniqueConstraint(
                fields=["fingerprint"],
                condition=models.Q(state="firing"),
                name="one_firing_alert_a_series",
            )
        ]
        indexes = [models.Index(fields=["state", "started_at"], name="alert_state_started")]

    def __str__(self) -> str:
        return f"{self.rule_name} ({self.state})"


class AlertSilence(models.Model):
    """Alerts of this rule (or of all) with these labels are not sent while it holds."""

    rule = models.ForeignKey(AlertRule, null=True, blank=True, on_delete=models.CASCADE)
    labels = models.JSONField(default=dict, blank=True)
    starts_at = models.DateTimeField(default=timezone.now)
    ends_at = models.DateTimeField()
    comment = models.CharField(max_length=300)
    created_by = models.CharField(max_length=150, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = AlertSilenceQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.rule or 'every rule'} until {self.ends_at:%Y-%m-%d %H:%M}"


class AlertChannel(models.Model):
    """Where alerts are sent. `target` is what is shown of it: addresses, or a webhook's host.

    A webhook's address may itself be a secret, so it is sealed as its key is.
    """

    name = models.CharField(max_length=100, unique=True)
    kind = models.CharField(max_length=8, choices=_choices(*ChannelKind))
    target = models.CharField(max_length=1000, editable=False)
    sealed_url = models.TextField(blank=True, editable=False)
    sealed_key = models.TextField(blank=True, editable=False)
    min_severity = models.CharField(max_length=8, choices=_choices(*Severity), default="warning")
    is_enabled = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = AlertChannelQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class AlertDelivery(models.Model):
    """One message to one channel: waiting, sent, or given up. The receiver may get it twice."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    channel = models.ForeignKey(AlertChannel, on_delete=models.CASCADE, related_name="deliveries")
    alert = models.ForeignKey(Alert, null=True, on_delete=models.CASCADE, related_name="deliveries")
    occasion = models.CharField(max_length=8, choices=_choices(*Occasion))
    body = models.JSONField()
    state = models.CharField(max_length=8, choices=_choices(*DeliveryState), default="waiting")
    num_attempts = models.PositiveSmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(default=timezone.now)
    error = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    sent_at = models.DateTimeField(null=True)

    objects = AlertDeliveryQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name_plural = "alert deliveries"
        constraints = [
            models.UniqueConstraint(
                fields=["channel", "alert", "occasion"], name="one_delivery_an_occasion"
            )
        ]
        indexes = [models.Index(fields=["state", "next_attempt_at"], name="delivery_due")]

    def __str__(self) -> str:
        return f"{self.occasion} to {self.channel} ({self.state})"
