"""Stage 2/7 of `/v1/responses`: the items of its `input`, which become turns of a conversation.

The official client hands the items of an answer back as they came, so what we put into them is read
here too.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.openai_api.message_fields import MAX_CALLS, MAX_MESSAGES
from inference.protocol import ChatMessage, ToolCall
from llamagpu.http.fields import StrictSerializer, TextField

_TEXT_PARTS = {"input_text", "output_text"}


class PartSerializer(StrictSerializer):
    type = serializers.ChoiceField(choices=sorted(_TEXT_PARTS))
    text = TextField(allow_blank=True)
    annotations = serializers.ListField(required=False, max_length=0)
    logprobs = serializers.ListField(required=False, max_length=0)


class PartsField(serializers.Field[str, Any, str, Any]):
    """A string, or parts of text, which are joined as they are."""

    default_error_messages = {"invalid": "Must be a string or an array of parts."}

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, str):
            return str(TextField(allow_blank=True).run_validation(data))
        if not isinstance(data, list) or not data:
            self.fail("invalid")
        return "".join(_text_of(index, part) for index, part in enumerate(data))

    def to_representation(self, value: Any) -> Any:
        return value


class _ItemSerializer(StrictSerializer):
    id = TextField(required=False, allow_null=True, max_length=128)
    status = TextField(required=False, allow_null=True, max_length=32)


class MessageItemSerializer(_ItemSerializer):
    type = serializers.ChoiceField(choices=["message"], required=False)
    role = serializers.ChoiceField(choices=["system", "developer", "user", "assistant"])
    content = PartsField()


class CallItemSerializer(_ItemSerializer):
    type = serializers.ChoiceField(choices=["function_call"])
    call_id = TextField(max_length=64)
    name = TextField(max_length=64)
    arguments = TextField(allow_blank=True)


class ResultItemSerializer(_ItemSerializer):
    type = serializers.ChoiceField(choices=["function_call_output"])
    call_id = TextField(max_length=64)
    output = TextField(allow_blank=True)


_ITEMS = {
    "message": MessageItemSerializer,
    "function_call": CallItemSerializer,
    "function_call_output": ResultItemSerializer,
}


@extend_schema_field(
    {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}, "minItems": 1}]}
)
class InputField(serializers.Field[Any, Any, Any, Any]):
    """A text of the user, or items; read as turns."""

    default_error_messages = {
        "invalid": "Must be a string or an array of items.",
        "too_many": f"Must have at most {MAX_MESSAGES} items.",
        "no_object": "Must be a JSON object.",
        "other": "Only items of type message, function_call and function_call_output are served.",
    }

    def to_internal_value(self, data: Any) -> list[ChatMessage]:
        if isinstance(data, str):
            return [ChatMessage("user", TextField().run_validation(data))]
        if not isinstance(data, list) or not data:
            self.fail("invalid")
        if len(data) > MAX_MESSAGES:
            self.fail("too_many")
        turns: list[ChatMessage] = []
        for index, item in enumerate(data):
            self._add(turns, index, item)
        return turns

    def to_representation(self, value: Any) -> Any:
        return value

    def _add(self, turns: list[ChatMessage], index: int, item: Any) -> None:
        if not isinstance(item, dict):
            raise serializers.ValidationError({str(index): [self.error_messages["no_object"]]})
        kind = item.get("type", "message")
        if not isinstance(kind, str) or kind not in _ITEMS:
            raise serializers.ValidationError(
                {str(index): {"type": [self.error_messages["other"]]}}
            )
        read = _ITEMS[kind](data=item)
        if not read.is_valid():
            raise serializers.ValidationError({str(index): read.errors})
        fields = read.validated_data
        if kind == "message":
            role = "system" if fields["role"] == "developer" else fields["role"]
            turns.append(ChatMessage(role, fields["content"]))
        elif kind == "function_call_output":
            turns.append(ChatMessage("tool", fields["output"], tool_call_id=fields["call_id"]))
        else:
            _add_call(turns, ToolCall(fields["call_id"], fields["name"], fields["arguments"]))


def _text_of(index: int, part: Any) -> str:
    read = PartSerializer(data=part)
    if not read.is_valid():
        raise serializers.ValidationError({str(index): read.errors})
    return str(read.validated_data["text"])


def _add_call(turns: list[ChatMessage], call: ToolCall) -> None:
    """Calls belong to the assistant's turn before them."""
    calls: tuple[ToolCall, ...] = (call,)
    content = ""
    if turns and turns[-1].role == "assistant" and len(turns[-1].tool_calls) < MAX_CALLS:
        last = turns.pop()
        calls, content = (*last.tool_calls, call), last.content
    turns.append(ChatMessage("assistant", content, tool_calls=calls))
