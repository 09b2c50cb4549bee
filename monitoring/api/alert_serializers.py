"""Bodies and filters of the calls about alerts."""

from __future__ import annotations

from rest_framework import serializers

from llamagpu.http.fields import (
    FlagField,
    NumberField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)
from llamagpu.http.schema_words import asked
from monitoring.alerts.words import AlertState, ChannelKind, Comparison, DeliveryState, Severity

_TIMES = ["iso-8601", "%Y-%m-%d"]
_SEVERITIES = [word.value for word in Severity]


class NoAlertFilters(StrictSerializer):
    """A list without filters."""


class AlertFilters(StrictSerializer):
    """All of them must hold. `rule` is a number; `since` is included, `until` is not."""

    state = serializers.ChoiceField([word.value for word in AlertState], required=False)
    severity = serializers.ChoiceField(_SEVERITIES, required=False)
    rule = serializers.IntegerField(min_value=1, max_value=2**62, required=False)
    since = serializers.DateTimeField(input_formats=_TIMES, required=False)
    until = serializers.DateTimeField(input_formats=_TIMES, required=False)


class SilenceFilters(StrictSerializer):
    """`active`: only those that hold now."""

    active = serializers.BooleanField(required=False)


class DeliveryFilters(StrictSerializer):
    state = serializers.ChoiceField([word.value for word in DeliveryState], required=False)
    channel = serializers.IntegerField(min_value=1, max_value=2**62, required=False)
    alert = serializers.IntegerField(min_value=1, max_value=2**62, required=False)


class LabelsField(serializers.DictField):
    def __init__(self) -> None:
        super().__init__(child=TextField(max_length=120), required=False)


class _RuleFields(StrictSerializer):
    summary = TextField(required=False, allow_blank=True, max_length=300)
    labels = LabelsField()
    comparison = serializers.ChoiceField([word.value for word in Comparison], required=False)
    duration = WholeNumberField(required=False)
    window = WholeNumberField(required=False)
    quantile = NumberField(required=False)
    severity = serializers.ChoiceField(_SEVERITIES, required=False)
    is_enabled = FlagField(required=False)


@asked(
    {
        "name": "Slow first tokens", "metric": "time_to_first_token_seconds",
        "labels": {"model_name": "tiny"}, "comparison": ">", "threshold": 2, "quantile": 0.95,
        "window": 300, "duration": 60, "severity": "warning",
    }
)  # fmt: skip
class NewRuleSerializer(_RuleFields):
    name = TextField(max_length=100)
    metric = TextField(max_length=120)
    threshold = NumberField()


@asked({"threshold": 3, "is_enabled": False})
class RuleChangeSerializer(_RuleFields):
    name = TextField(required=False, max_length=100)
    metric = TextField(required=False, max_length=120)
    threshold = NumberField(required=False)


@asked(
    {
        "rule": 7,
        "labels": {"node": "gpu-1"},
        "ends_at": "2026-12-01T08:00:00Z",
        "comment": "new fans",
    }
)
class NewSilenceSerializer(StrictSerializer):
    """`rule` is a number; without it all rules, then with labels."""

    rule = WholeNumberField(required=False, allow_null=True, min_value=1, max_value=2**62)
    labels = LabelsField()
    starts_at = serializers.DateTimeField(required=False)
    ends_at = serializers.DateTimeField()
    comment = TextField(max_length=300)


class _ChannelFields(StrictSerializer):
    min_severity = serializers.ChoiceField(_SEVERITIES, required=False)
    is_enabled = FlagField(required=False)
    addresses = serializers.ListField(
        child=TextField(max_length=254), required=False, allow_empty=False, max_length=20
    )
    url = TextField(required=False, max_length=1000)
    secret = TextField(required=False, max_length=200)


@asked(
    {
        "name": "pager",
        "kind": "webhook",
        "url": "https://hooks.example.org/alerts",
        "min_severity": "critical",
    }
)
class NewChannelSerializer(_ChannelFields):
    """A mail channel takes `addresses`, a webhook `url` and `secret`."""

    name = TextField(max_length=100)
    kind = serializers.ChoiceField([word.value for word in ChannelKind])


@asked({"min_severity": "warning"})
class ChannelChangeSerializer(_ChannelFields):
    name = TextField(required=False, max_length=100)


@asked({"note": "I look at it"})
class AcknowledgeSerializer(StrictSerializer):
    note = TextField(required=False, allow_blank=True, max_length=300)
