"""Stage 2/7 of the OpenAI door: texts or token ids, one or many."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.protocol import Prompt
from llamagpu.http.fields import TextField

#: Prompts of one call that generates.
MAX_PROMPTS = 32


def prompt_schema(most: int) -> dict[str, Any]:
    """What such a field takes, in OpenAPI's words."""
    ids = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    return {
        "oneOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": most},
            ids,
            {"type": "array", "items": ids, "minItems": 1, "maxItems": most},
        ]
    }


@extend_schema_field(prompt_schema(MAX_PROMPTS))
class PromptField(serializers.Field[Any, Any, Any, Any]):
    """A text, a list of texts, token ids, or a list of lists of token ids; read as `Prompt`s."""

    most = MAX_PROMPTS
    noun = "prompts"
    default_error_messages = {
        "invalid": "Must be a string, an array of strings, of token ids or of arrays of them.",
        "too_many": "Must have at most {most} {noun}.",
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
        if len(data) > self.most:
            self.fail("too_many", most=self.most, noun=self.noun)
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
