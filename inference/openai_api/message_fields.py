"""Stage 2/7 of the OpenAI door: the turns of a conversation."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.protocol import ChatMessage, ToolCall
from llamagpu.http.fields import StrictSerializer, TextField

MAX_MESSAGES = 512
MAX_CALLS = 64
# The official client hands an answer back as a turn, with what it has set: these as null.
_EMPTY = {"audio", "function_call", "refusal"}


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
                    "required": ["type", "text"],
                    "additionalProperties": False,
                },
            },
        ]
    }
)
class ContentField(serializers.Field[str, Any, str, Any]):
    """A string, or parts of type text, which are joined as they are."""

    default_error_messages = {
        "invalid": "Must be a string or an array of parts.",
        "no_object": "Must be a JSON object.",
        "other_part": "Only parts of type text are served.",
        "unknown": "Unknown field: it is refused rather than ignored.",
    }

    def to_internal_value(self, data: Any) -> str:
        text = TextField(allow_blank=True)
        if isinstance(data, str):
            return str(text.run_validation(data))
        if not isinstance(data, list) or not data:
            self.fail("invalid")
        return "".join(self._part(text, index, part) for index, part in enumerate(data))

    def to_representation(self, value: Any) -> Any:
        return value

    def _part(self, text: TextField, index: int, part: Any) -> str:
        messages = self.error_messages
        if not isinstance(part, dict):
            raise serializers.ValidationError({str(index): [messages["no_object"]]})
        if part.get("type") != "text":
            raise serializers.ValidationError({str(index): {"type": [messages["other_part"]]}})
        for name in sorted(set(part) - {"type", "text"}):
            raise serializers.ValidationError({str(index): {name: [messages["unknown"]]}})
        try:
            return str(text.run_validation(part.get("text", serializers.empty)))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({str(index): {"text": error.detail}}) from error


class CalledFunctionSerializer(StrictSerializer):
    name = TextField(max_length=64)
    arguments = TextField(allow_blank=True)


class ToolCallSerializer(StrictSerializer):
    id = TextField(max_length=64)
    type = serializers.ChoiceField(choices=["function"])
    function = CalledFunctionSerializer()


class ChatTurnSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=["system", "developer", "user", "assistant", "tool"])
    content = ContentField(required=False, allow_null=True)
    name = TextField(required=False, allow_null=True, max_length=64)
    tool_calls = ToolCallSerializer(many=True, required=False, allow_null=True)
    tool_call_id = TextField(required=False, allow_null=True, max_length=64)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            data = {k: v for k, v in data.items() if v is not None or k not in _EMPTY}
        return super().to_internal_value(data)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        role, calls = attrs["role"], attrs.get("tool_calls")
        if calls and role != "assistant":
            raise serializers.ValidationError({"tool_calls": "Belongs to the role assistant."})
        if calls and len(calls) > MAX_CALLS:
            raise serializers.ValidationError({"tool_calls": f"Has more than {MAX_CALLS} calls."})
        if bool(attrs.get("tool_call_id")) != (role == "tool"):
            raise serializers.ValidationError(
                {"tool_call_id": "Belongs to the role tool, which needs it."}
            )
        if attrs.get("content") is None and not calls:
            raise serializers.ValidationError({"content": "This field is required."})
        return attrs


def message_of(fields: dict[str, Any]) -> ChatMessage:
    """A checked turn in the words of the engine, which knows no developers."""
    return ChatMessage(
        role="system" if fields["role"] == "developer" else fields["role"],
        content=fields.get("content") or "",
        name=fields.get("name") or "",
        tool_calls=tuple(
            ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in fields.get("tool_calls") or ()
        ),
        tool_call_id=fields.get("tool_call_id") or "",
    )


def num_characters(messages: list[dict[str, Any]]) -> int:
    """How much text checked turns hold."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return sum(len(message.get("content") or "") for message in messages) + sum(
        len(call["function"]["arguments"]) for call in calls
    )
