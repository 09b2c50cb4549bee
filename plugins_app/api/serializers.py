"""Bodies and filters of the calls about plugins."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from llamagpu.http.fields import (
    FlagField,
    NumberField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)
from llamagpu.http.schema_words import asked
from plugins_app.base import PluginCategory
from plugins_app.models import MAX_ORDER
from plugins_app.services.arrangement import BUDGET_RANGES, MAX_NAMES, WHOLE_LIMITS
from plugins_app.spec import FailurePolicy, Tier
from plugins_app.states import PluginState

MAX_PLUGINS = 1000
MAX_TEXT = 20_000


@extend_schema_field({"type": "object", "additionalProperties": True})
class ObjectField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object as it is; who takes it checks what stands in it."""

    default_error_messages = {"invalid": "Must be an object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class PluginFilters(StrictSerializer):
    """Query of GET /api/plugins."""

    tier = serializers.ChoiceField(choices=[tier.value for tier in Tier], required=False)
    category = serializers.ChoiceField(
        choices=[category.value for category in PluginCategory], required=False
    )
    state = serializers.ChoiceField(choices=[state.value for state in PluginState], required=False)


def _limit(name: str) -> serializers.Field[Any, Any, Any, Any]:
    low, high = BUDGET_RANGES[name]
    if name in WHOLE_LIMITS:
        return WholeNumberField(required=False, min_value=int(low), max_value=int(high))
    return NumberField(required=False, min_value=low, max_value=high)


class BudgetSerializer(StrictSerializer):
    """Limits other than the usual; those that are left out are the usual."""

    call_timeout = _limit("call_timeout")
    start_timeout = _limit("start_timeout")
    max_output_bytes = _limit("max_output_bytes")
    memory_bytes = _limit("memory_bytes")
    max_processes = _limit("max_processes")
    max_open_files = _limit("max_open_files")


def _names(what: str) -> serializers.ListField:
    return serializers.ListField(
        child=TextField(max_length=128), required=False, max_length=MAX_NAMES, help_text=what
    )


@asked({"enabled": True, "policy": "fail_open", "models": ["smollm2-135m-instruct"]})
class ChangePluginSerializer(StrictSerializer):
    """Body of PATCH /api/plugins/{id}."""

    enabled = FlagField(required=False, help_text="false unloads it, true loads it")
    order = WholeNumberField(
        required=False, min_value=0, max_value=MAX_ORDER, help_text="the lower one acts first"
    )
    policy = serializers.ChoiceField(
        choices=[policy.value for policy in FailurePolicy], required=False
    )
    models = _names("models that it applies to; none: to all")
    roles = _names("roles of callers that it applies to; none: to all")
    budget = BudgetSerializer(required=False)

    @property
    def changes(self) -> dict[str, Any]:
        """As `change_plugin` takes them."""
        fields = self.validated_data
        return {name: dict(value) if name == "budget" else value for name, value in fields.items()}


@asked({"plugins": ["pii_redactor", "output_processor"]})
class OrderSerializer(StrictSerializer):
    """Body of PUT /api/plugins/order."""

    plugins = serializers.ListField(
        child=TextField(max_length=64), max_length=MAX_PLUGINS, help_text="the first one acts first"
    )


@asked({"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"})
class ApprovalSerializer(StrictSerializer):
    """Body of POST /api/plugins/{id}/approve."""

    sha256 = serializers.RegexField(
        r"\A[0-9a-fA-F]{64}\Z", help_text="of the files that were read, as the plugin shows it"
    )


@asked({"config": {"replacement": "[removed]"}})
class ConfigSerializer(StrictSerializer):
    """Body of PUT /api/plugins/{id}/config."""

    config = ObjectField(help_text="all settings; a secret that is left out or null stays")


@asked({"number": 3})
class RollbackSerializer(StrictSerializer):
    """Body of POST /api/plugins/{id}/config/rollback."""

    number = WholeNumberField(min_value=1, max_value=2**31 - 1, help_text="of the change")


@asked({"text": "Write to ada@example.org", "hook": "prompt"})
class TrySerializer(StrictSerializer):
    """Body of POST /api/plugins/{id}/try."""

    text = TextField(max_length=MAX_TEXT, allow_blank=True)
    hook = serializers.ChoiceField(
        choices=["adapt", "prompt", "chunk", "result", "finished"],
        required=False,
        help_text="one that it has; left out: its first",
    )
    config = ObjectField(required=False, help_text="settings for this call alone")


class UploadSerializer(StrictSerializer):
    """Form of POST /api/plugins/upload."""

    file = serializers.FileField(help_text="zip or tar(.gz) with one plugin")
    replace = serializers.BooleanField(
        required=False, help_text="take the place of one that was uploaded before"
    )
