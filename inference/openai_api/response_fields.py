"""Stage 2/7 of `/v1/responses`: its body."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.sampling_fields import JsonObjectField, JsonSchemaSerializer
from inference.openai_api.fields import NullsLeftOut, check_size, problem
from inference.openai_api.message_fields import MAX_MESSAGES
from inference.openai_api.response_items import InputField
from inference.openai_api.tool_fields import check_tools
from inference.protocol import ChatMessage
from llamagpu.http.fields import (
    FlagField,
    NumberField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)
from llamagpu.http.schema_words import asked
from monitoring.configuration import current


class FormatSerializer(JsonSchemaSerializer):
    """The form of the answer; a schema's name, schema and strict stand beside its type."""

    type = serializers.ChoiceField(choices=["text", "json_object", "json_schema"])
    name = serializers.RegexField(r"\A[a-zA-Z0-9_-]{1,64}\Z", required=False)
    schema = JsonObjectField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_schema = attrs["type"] == "json_schema"
        for name in ("name", "schema"):
            if is_schema and name not in attrs:
                raise serializers.ValidationError({name: "Is required for the type json_schema."})
        for name in ("name", "schema", "strict", "description"):
            if not is_schema and name in attrs:
                raise serializers.ValidationError({name: "Belongs to the type json_schema."})
        return attrs


class TextOptionsSerializer(StrictSerializer):
    format = FormatSerializer(required=False)


class FlatToolSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=["function"])
    name = serializers.RegexField(r"\A[a-zA-Z0-9_-]{1,64}\Z")
    description = TextField(required=False, allow_null=True, allow_blank=True, max_length=4096)
    parameters = JsonObjectField(required=False, allow_null=True)
    strict = FlagField(required=False, allow_null=True)


@extend_schema_field(
    {"oneOf": [{"type": "string", "enum": ["none", "auto", "required"]}, {"type": "object"}]}
)
class FlatToolChoiceField(serializers.Field[str, Any, str, Any]):
    """`none`, `auto`, `required`, or the function that must be called, as `=name`."""

    default_error_messages = {
        "invalid": 'Must be none, auto, required or {"type": "function", "name": "..."}.'
    }

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str) and data in ("none", "auto", "required"):
            return data
        if isinstance(data, dict) and set(data) == {"type", "name"} and data["type"] == "function":
            return f"={data['name']}"
        raise serializers.ValidationError(self.error_messages["invalid"])

    def to_representation(self, value: Any) -> Any:
        return value


@asked({"model": "smollm2-135m-instruct", "input": "What is the capital of France?"})
class ResponseSerializer(NullsLeftOut, StrictSerializer):
    """Body of POST /v1/responses. A null is the same as no value."""

    model = TextField(max_length=128)
    input = InputField()
    instructions = TextField(required=False, allow_blank=True)
    max_output_tokens = WholeNumberField(default=None, min_value=1)
    temperature = NumberField(default=1.0, min_value=0.0, max_value=2.0)
    top_p = NumberField(default=1.0, min_value=0.0, max_value=1.0)
    stream = FlagField(default=False)
    # Not given: wherever answers are stored at all.
    store = FlagField(default=None)
    previous_response_id = TextField(required=False, max_length=64)
    text = TextOptionsSerializer(required=False)
    tools = FlatToolSerializer(many=True, required=False)
    tool_choice = FlatToolChoiceField(required=False)
    user = TextField(default="", max_length=128)

    def validate_max_output_tokens(self, value: int | None) -> int | None:
        limit = current().max_new_tokens
        if value is not None and value > limit:
            raise serializers.ValidationError(f"Must be at most {limit}.")
        return value

    def validate_top_p(self, value: float) -> float:
        if value == 0:
            raise serializers.ValidationError("Must be over 0.")
        return value

    def validate_input(self, value: list[ChatMessage]) -> list[ChatMessage]:
        check_size(_size_of(value))
        return value

    def validate_instructions(self, value: str) -> str:
        check_size(len(value))
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        tools = attrs.get("tools", [])
        attrs["chat_tools"] = [_as_chat_tool(tool) for tool in tools]
        form = attrs.get("text", {}).get("format", {"type": "text"})
        if tools and attrs.get("tool_choice") != "none" and form["type"] != "text":
            raise problem("text", "Cannot be combined with tools: a call has its own form.")
        check_tools(self.tool_fields(attrs))
        return attrs

    @staticmethod
    def tool_fields(attrs: dict[str, Any]) -> dict[str, Any]:
        """Functions as chats have them."""
        fields: dict[str, Any] = {"tools": attrs["chat_tools"]} if attrs["chat_tools"] else {}
        if "tool_choice" in attrs:
            fields["tool_choice"] = attrs["tool_choice"]
        return fields

    def messages_after(self, earlier: tuple[ChatMessage, ...]) -> tuple[ChatMessage, ...]:
        """Instructions, the turns of earlier responses, and the input. Raises ValidationError."""
        fields = self.validated_data
        first = (
            [ChatMessage("system", fields["instructions"])] if fields.get("instructions") else []
        )
        messages = (*first, *earlier, *fields["input"])
        if earlier and (
            len(messages) > MAX_MESSAGES or _size_of(messages) > current().max_input_chars
        ):
            raise problem("previous_response_id", "The conversation has become too long.")
        return messages

    @property
    def response_format(self) -> dict[str, Any] | None:
        """The form of the answer as chats have it."""
        form = self.validated_data.get("text", {}).get("format")
        if form is None or form["type"] != "json_schema":
            return form
        return {"type": "json_schema", "json_schema": {"schema": form["schema"]}}


def _size_of(messages: Iterable[ChatMessage]) -> int:
    """How much text they hold."""
    return sum(
        len(turn.content) + sum(len(call.arguments) for call in turn.tool_calls)
        for turn in messages
    )


def _as_chat_tool(tool: dict[str, Any]) -> dict[str, Any]:
    function = {k: v for k, v in tool.items() if k != "type" and v is not None}
    return {"type": "function", "function": function}
