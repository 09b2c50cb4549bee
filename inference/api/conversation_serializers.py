"""Bodies of the conversations API: turns and settings of the playground."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.serializers import MAX_MESSAGES, SamplingSerializer
from inference.services.conversations import Content
from llamagpu.http.fields import StrictSerializer, TextField, WholeNumberField
from llamagpu.http.schema_words import asked

#: Characters of all turns of a conversation together.
MAX_TEXT = 1_000_000
_PARAMETERS = tuple(SamplingSerializer().fields)


class TurnSerializer(StrictSerializer):
    """`model` and `job_id` tell where an answer came from; an answer under way is empty so far."""

    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = TextField(allow_blank=True)
    model = TextField(required=False, max_length=128)
    job_id = serializers.UUIDField(required=False)

    def to_representation(self, instance: Any) -> Any:
        return instance

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "job_id" in attrs:
            attrs["job_id"] = str(attrs["job_id"])
        return attrs


@extend_schema_field({"type": "object", "description": "parameters as of POST /api/stream_infer"})
class SettingsField(serializers.Field[Any, Any, Any, Any]):
    """Sampling parameters as the calls that generate take them, some or all."""

    default_error_messages = {"invalid": "Must be an object of sampling parameters."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        if unknown := sorted(set(data) - set(_PARAMETERS)):
            raise serializers.ValidationError({name: ["Is no parameter."] for name in unknown})
        checked = SamplingSerializer(data=data)
        if not checked.is_valid():
            raise serializers.ValidationError(checked.errors)
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@asked(
    {
        "title": "France",
        "model": "smollm2-135m-instruct",
        "settings": {"temperature": 0},
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }
)
class ConversationSerializer(StrictSerializer):
    """POST /api/conversations"""

    title = TextField(default="", allow_blank=True, max_length=120)
    model = TextField(default="", allow_blank=True, max_length=128)
    settings = SettingsField(default=dict)
    messages = TurnSerializer(many=True, default=list)

    def validate_messages(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(value) > MAX_MESSAGES:
            raise serializers.ValidationError(f"Must have at most {MAX_MESSAGES} messages.")
        if sum(len(turn["content"]) for turn in value) > MAX_TEXT:
            raise serializers.ValidationError(f"Must have at most {MAX_TEXT} characters.")
        return [dict(turn) for turn in value]

    @property
    def content(self) -> Content:
        fields = self.validated_data
        return Content(fields["title"], fields["model"], fields["settings"], fields["messages"])


@asked(
    {
        "title": "France",
        "version": 1,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }
)
class ChangedConversationSerializer(ConversationSerializer):
    """PUT /api/conversations/{id}: the whole of it, and the version that it was made from."""

    version = WholeNumberField(min_value=1)
