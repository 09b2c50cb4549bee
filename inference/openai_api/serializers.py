"""Stage 2/7 of the OpenAI door: bodies of `/v1/chat/completions` and `/v1/completions`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rest_framework import serializers

from inference.api.serializers import MAX_LOGPROBS, read_params
from inference.openai_api.fields import CallSerializer, check_size
from inference.openai_api.message_fields import MAX_MESSAGES, ChatTurnSerializer, num_characters
from inference.openai_api.prompt_fields import PromptField
from inference.openai_api.tool_fields import ToolChoiceField, ToolSerializer, check_tools
from inference.protocol import Prompt, SamplingParams
from llamagpu.http.fields import FlagField, WholeNumberField
from llamagpu.http.schema_words import asked

#: Answers of one call to all of its prompts together.
MAX_ANSWERS = 64
# Stands for the number of tokens until it is known what the context has left.
_UNFILLED = 1


@asked(
    {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "temperature": 0,
    }
)
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
        return _params({**fields, "logprobs": logprobs}, self.initial_data)


@asked({"model": "smollm2-135m-instruct", "prompt": "The capital of France is", "max_tokens": 5})
class CompletionSerializer(CallSerializer):
    prompt = PromptField()
    # 0 with `echo`: the prompt alone, for its log probabilities.
    max_tokens = WholeNumberField(default=None, min_value=0)
    echo = FlagField(default=False)
    # Structured output belongs to chats.
    response_format = None  # type: ignore[assignment]

    def validate_prompt(self, value: list[Prompt]) -> list[Prompt]:
        check_size(sum(len(prompt.text or prompt.token_ids or ()) for prompt in value))
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        is_scored = attrs["echo"] and attrs["logprobs"] is not None
        if is_scored and attrs["stream"]:
            raise serializers.ValidationError(
                {
                    "stream": "Cannot be combined with echo and logprobs: those of a prompt are whole."
                }
            )
        if attrs["max_tokens"] == 0 and not attrs["echo"]:
            raise serializers.ValidationError(
                {"max_tokens": "Must be at least 1, unless echo is true."}
            )
        if attrs["n"] * len(attrs["prompt"]) > MAX_ANSWERS:
            raise serializers.ValidationError(
                {"n": f"With all prompts together at most {MAX_ANSWERS} answers are given."}
            )
        return super().validate(attrs)

    @property
    def params(self) -> SamplingParams:
        """Without a number of tokens where the body has none."""
        fields = self.validated_data
        scores = fields["logprobs"] if fields["echo"] else None
        return replace(
            _params({**fields, "response_format": None}, self.initial_data), prompt_logprobs=scores
        )


def _params(fields: dict[str, Any], body: dict[str, Any]) -> SamplingParams:
    given = fields["max_tokens"]
    return read_params({**fields, "max_tokens": _UNFILLED if given is None else given}, body)
