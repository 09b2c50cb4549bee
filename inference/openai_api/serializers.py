"""Stage 2/7 of the OpenAI door: bodies of `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.serializers import MAX_LOGPROBS, read_params
from inference.openai_api.fields import CallSerializer, check_size
from inference.openai_api.message_fields import MAX_MESSAGES, ChatTurnSerializer, num_characters
from inference.openai_api.tool_fields import ToolChoiceField, ToolSerializer, check_tools
from inference.protocol import Prompt, SamplingParams
from llamagpu.http.fields import FlagField, TextField, WholeNumberField

#: Prompts of one call, and answers to all of them together.
MAX_PROMPTS = 32
MAX_ANSWERS = 64
# Stands for the number of tokens until it is known what the context has left.
_UNFILLED = 1


class ChatSerializer(CallSerializer):
    messages = ChatTurnSerializer(many=True, allow_empty=False)
    max_completion_tokens = WholeNumberField(required=False, min_value=1)
    logprobs = FlagField(default=False)  # type: ignore[assignment]
    top_logprobs = WholeNumberField(required=False, min_value=0, max_value=MAX_LOGPROBS)
    tools = ToolSerializer(many=True, required=False, allow_empty=False)
    tool_choice = ToolChoiceField(required=False)

    def validate_messages(self, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(value) > MAX_MESSAGES:
            raise serializers.ValidationError(f"Must have at most {MAX_MESSAGES} messages.")
        check_size(num_characters(value))
        return value

    def validate_max_completion_tokens(self, value: int) -> int | None:
        return self.validate_max_tokens(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "max_completion_tokens" in attrs:
            if attrs["max_tokens"] is not None:
                raise serializers.ValidationError(
                    {"max_tokens": "Means the same as max_completion_tokens: give one of them."}
                )
            attrs["max_tokens"] = attrs["max_completion_tokens"]
        if "top_logprobs" in attrs and not attrs["logprobs"]:
            raise serializers.ValidationError({"top_logprobs": "Needs logprobs to be true."})
        check_tools(attrs)
        return super().validate(attrs)

    @property
    def params(self) -> SamplingParams:
        """Without a number of tokens where the body has none."""
        fields = self.validated_data
        logprobs = fields.get("top_logprobs", 0) if fields["logprobs"] else None
        return _params({**fields, "logprobs": logprobs})


_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string"},
            {"type": "array", "items": {"type": "string"}, "maxItems": MAX_PROMPTS},
            _IDS,
            {"type": "array", "items": _IDS, "maxItems": MAX_PROMPTS},
        ]
    }
)
class PromptField(serializers.Field[Any, Any, Any, Any]):
    """A text, a list of texts, token ids, or a list of lists of token ids; read as `Prompt`s."""

    default_error_messages = {
        "invalid": "Must be a string, an array of strings, of token ids or of arrays of them.",
        "too_many": f"Must have at most {MAX_PROMPTS} prompts.",
        "bad_id": "Token ids must be whole numbers of 0 or more.",
        "empty": "May not be empty.",
    }

    def to_internal_value(self, data: Any) -> list[Prompt]:
        if isinstance(data, str):
            return [self._text(data)]
        if not isinstance(data, list):
            self.fail("invalid")
        if not data:
            self.fail("empty")
        if all(isinstance(item, int) for item in data):
            return [self._ids(data)]
        if len(data) > MAX_PROMPTS:
            self.fail("too_many")
        if all(isinstance(item, str) for item in data):
            return [self._text(item) for item in data]
        if all(isinstance(item, list) for item in data):
            return [self._ids(item) for item in data]
        raise serializers.ValidationError(self.error_messages["invalid"])

    def to_representation(self, value: Any) -> Any:
        return value

    def _text(self, text: str) -> Prompt:
        return Prompt(text=TextField().run_validation(text), is_raw=True)

    def _ids(self, ids: list[Any]) -> Prompt:
        if not ids:
            self.fail("empty")
        if not all(isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**31 for i in ids):
            self.fail("bad_id")
        return Prompt(token_ids=tuple(ids))


class CompletionSerializer(CallSerializer):
    prompt = PromptField()
    echo = FlagField(default=False)
    # Structured output belongs to chats.
    response_format = None  # type: ignore[assignment]

    def validate_prompt(self, value: list[Prompt]) -> list[Prompt]:
        check_size(sum(len(prompt.text or prompt.token_ids or ()) for prompt in value))
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["echo"] and attrs["logprobs"] is not None:
            raise serializers.ValidationError(
                {"logprobs": "Cannot be combined with echo: those of prompts are not computed."}
            )
        if attrs["n"] * len(attrs["prompt"]) > MAX_ANSWERS:
            raise serializers.ValidationError(
                {"n": f"With all prompts together at most {MAX_ANSWERS} answers are given."}
            )
        return super().validate(attrs)

    @property
    def params(self) -> SamplingParams:
        """Without a number of tokens where the body has none."""
        return _params({**self.validated_data, "response_format": None})


def _params(fields: dict[str, Any]) -> SamplingParams:
    return read_params({**fields, "max_tokens": fields["max_tokens"] or _UNFILLED})
