"""Alerts in Django admin: rules, silences and channels by their services, the rest to look at."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from llamagpu.http.errors import AppError
from llamagpu.http.model_admin import PortalModelAdmin, ReadOnlyModelAdmin
from llamagpu.http.permissions import WRITE_MONITORING, allows
from llamagpu.lib.error_codes import ErrorCode
from monitoring.alerts.values import watchables
from monitoring.alerts.words import ChannelKind
from monitoring.models import Alert, AlertChannel, AlertDelivery, AlertRule, AlertSilence
from monitoring.services.alert_channels import (
    change_channel,
    create_channel,
    delete_channel,
    send_test,
)
from monitoring.services.alert_rules import FIELDS, change_rule, create_rule, delete_rule
from monitoring.services.alert_silences import create_silence, end_silence
from monitoring.services.alerts import acknowledge


def _metric_choices() -> list[tuple[str, str]]:
    return [(name, name) for name in watchables()]


class AlertRuleForm(forms.ModelForm):
    metric = forms.ChoiceField(choices=_metric_choices)


@admin.register(AlertRule)
class AlertRuleAdmin(PortalModelAdmin):
    """Conditions that are watched once a second."""

    form = AlertRuleForm
    list_display = [
        "name",
        "metric",
        "comparison",
        "threshold",
        "duration",
        "severity",
        "is_enabled",
    ]
    list_filter = ["severity", "is_enabled", "is_builtin"]
    search_fields = ["name", "metric"]
    fields = list(FIELDS)

    def save_model(self, request: HttpRequest, obj: AlertRule, form: Any, change: bool) -> None:
        values = {name: form.cleaned_data[name] for name in FIELDS}
        if change:
            stored = AlertRule.objects.get(pk=obj.pk)
            change_rule(actor=request.user, rule=stored, changes=values)
        else:
            obj.pk = create_rule(actor=request.user, values=values).pk

    def delete_model(self, request: HttpRequest, obj: AlertRule) -> None:
        delete_rule(actor=request.user, rule=obj)


@admin.register(Alert)
class AlertAdmin(ReadOnlyModelAdmin):
    """What fires and what has fired."""

    list_display = ["started_at", "rule_name", "severity", "state", "summary", "acknowledged_by"]
    list_filter = ["state", "severity"]
    search_fields = ["rule_name", "summary"]
    date_hierarchy = "started_at"
    ordering = ["-id"]
    actions = ["acknowledge"]

    @admin.action(description="Acknowledge")
    def acknowledge(self, request: HttpRequest, rows: QuerySet[Alert]) -> None:
        self.act_on_each(
            request, rows, lambda row: _may(request) and acknowledge(actor=request.user, alert=row),
            "acknowledged",
        )  # fmt: skip


@admin.register(AlertSilence)
class AlertSilenceAdmin(PortalModelAdmin):
    """What is not sent for a while. A silence is ended, never changed or removed."""

    list_display = ["rule", "labels", "starts_at", "ends_at", "comment", "created_by"]
    list_select_related = ["rule"]
    search_fields = ["rule__name", "comment", "created_by"]
    fields = ["rule", "labels", "starts_at", "ends_at", "comment"]
    actions = ["end"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: AlertSilence, form: Any, change: bool) -> None:
        names = ("rule", "labels", "starts_at", "ends_at", "comment")
        values = {name: form.cleaned_data[name] for name in names}
        obj.pk = create_silence(actor=request.user, **values).pk

    @admin.action(description="End now")
    def end(self, request: HttpRequest, rows: QuerySet[AlertSilence]) -> None:
        self.act_on_each(
            request, rows, lambda row: _may(request) and end_silence(actor=request.user, silence=row),
            "ended",
        )  # fmt: skip


class AlertChannelForm(forms.ModelForm):
    addresses = forms.CharField(
        required=False, max_length=1000, help_text="of mail: addresses with commas between"
    )
    url = forms.CharField(
        required=False,
        max_length=1000,
        widget=forms.TextInput(attrs={"autocomplete": "off", "size": 60}),
        help_text="of a webhook: kept sealed, shown no more; empty: as before",
    )
    secret = forms.CharField(
        required=False,
        max_length=200,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="signs what a webhook gets: at least 16 characters; empty: as before",
    )

    class Meta:
        model = AlertChannel
        fields = ["name", "kind", "min_severity", "is_enabled"]

    def clean(self) -> dict[str, Any]:
        values = super().clean() or {}
        is_new_hook = not self.instance.pk and values.get("kind") == ChannelKind.WEBHOOK
        if is_new_hook and not values.get("secret"):
            self.add_error("secret", "is required here, since this page cannot show a made one")
        return values


@admin.register(AlertChannel)
class AlertChannelAdmin(PortalModelAdmin):
    """Where alerts are sent."""

    form = AlertChannelForm
    list_display = ["name", "kind", "target", "min_severity", "is_enabled", "updated_at"]
    list_filter = ["kind", "is_enabled"]
    search_fields = ["name", "target"]
    actions = ["test"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ["kind", "target"] if obj else []

    def save_model(self, request: HttpRequest, obj: AlertChannel, form: Any, change: bool) -> None:
        typed = form.cleaned_data
        values = {name: typed[name] for name in ("name", "min_severity", "is_enabled")}
        values |= {name: typed[name] for name in ("url", "secret") if typed[name]}
        if typed["addresses"]:
            values["addresses"] = [part.strip() for part in typed["addresses"].split(",")]
        if change:
            stored = AlertChannel.objects.get(pk=obj.pk)
            change_channel(actor=request.user, channel=stored, changes=values)
        else:
            obj.pk = create_channel(actor=request.user, kind=typed["kind"], values=values)[0].pk

    def delete_model(self, request: HttpRequest, obj: AlertChannel) -> None:
        delete_channel(actor=request.user, channel=obj)

    @admin.action(description="Send a test")
    def test(self, request: HttpRequest, rows: QuerySet[AlertChannel]) -> None:
        self.act_on_each(
            request, rows, lambda row: _may(request) and send_test(actor=request.user, channel=row),
            "tests are on their way",
        )  # fmt: skip


@admin.register(AlertDelivery)
class AlertDeliveryAdmin(ReadOnlyModelAdmin):
    """What was sent, and what waits."""

    list_display = [
        "created_at",
        "channel",
        "occasion",
        "state",
        "num_attempts",
        "error",
        "sent_at",
    ]
    list_filter = ["state", "occasion"]
    list_select_related = ["channel"]
    search_fields = ["channel__name", "error"]
    actions = None


def _may(request: HttpRequest) -> bool:
    """Raises AppError: an action is offered to who may look, too."""
    if not allows(WRITE_MONITORING, request.user, None):
        raise AppError(ErrorCode.PERMISSION_DENIED, "Your role may not change alerts.")
    return True
