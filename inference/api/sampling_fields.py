"""The structured parameters of a generating call: the form of the answer, and biases by token.

Shape and size are checked here; whether a schema or a grammar can be served is found out by the engine,
which answers with the same code and names the same field.
"""

from __future__ import annotations

import json
from typing import Any

from rest_framework import serializers

from inference.protocol import Grammar, GrammarKind
from llamagpu.http.fields import FlagField, NumberField, StrictSerializer, TextField

MAX_GRAMMAR_CHARS = 65_536
MAX_BIASES = 1024
MAX_BIAS = 100.0

_KINDS = {
    "json_object": GrammarKind.JSON_OBJECT,
    "json_schema": GrammarKind.JSON_SCHEMA,
    "regex": GrammarKind.REGEX,
    "grammar": GrammarKind.LARK,
}
#: Types whose text is in a field of the same name.
_WITH_TEXT = ("json_schema", "regex", "grammar")


class JsonObjectField(serializers.DictField):
    """A JSON object, of whatever content, kept as it is."""

    default_error_messages = {"not_a_dict": "Must be a JSON object."}

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        return data


class JsonSchemaSerializer(StrictSerializer):
    """OpenAI's form. A schema is always followed to the letter, so `strict` changes nothing."""

    name = serializers.RegexField(r"\A[a-zA-Z0-9_-]{1,64}\Z")
    description = TextField(required=False, allow_blank=True, max_length=1024)
    schema = JsonObjectField()
    strict = FlagField(required=False, allow_null=True)

    def validate_schema(self, value: dict[str, Any]) -> dict[str, Any]:
        if len(json.dumps(value)) > MAX_GRAMMAR_CHARS:
            raise serializers.ValidationError(
                f"Must have at most {MAX_GRAMMAR_CHARS} characters as JSON."
            )
        return value


class ResponseFormatSerializer(StrictSerializer):
    """The form of the answer: any text, a JSON object, or what a schema or a grammar describes."""

    type = serializers.ChoiceField(choices=["text", *_KINDS])
    json_schema = JsonSchemaSerializer(required=False)
    regex = TextField(required=False, max_length=MAX_GRAMMAR_CHARS)
    grammar = TextField(
        required=False, max_length=MAX_GRAMMAR_CHARS, help_text="A grammar in Lark's syntax."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        kind = attrs["type"]
        for name in _WITH_TEXT:
            if name == kind and name not in attrs:
                raise serializers.ValidationError({name: f"Is required for the type {kind}."})
            if name != kind and name in attrs:
                raise serializers.ValidationError({name: f"Does not belong to the type {kind}."})
        return attrs


class LogitBiasField(serializers.DictField):
    """Token ids, written as strings, to what is added to their logits: -100 to 100."""

    default_error_messages = {
        "not_a_dict": "Must be a JSON object of token ids and numbers.",
        "too_many": f"Must name at most {MAX_BIASES} tokens.",
        "bad_id": "Its keys must be token ids, like '42'.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=NumberField(min_value=-MAX_BIAS, max_value=MAX_BIAS), **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, float]:
        if isinstance(data, dict) and len(data) > MAX_BIASES:
            self.fail("too_many")
        values = super().to_internal_value(data)
        if not all(_is_token_id(key) for key in values):
            self.fail("bad_id")
        return values


def grammar_of(response_format: dict[str, Any] | None) -> Grammar | None:
    """The grammar that a checked `response_format` asks for; None for any text."""
    if response_format is None or response_format["type"] == "text":
        return None
    name = response_format["type"]
    if name == "json_schema":
        return Grammar(_KINDS[name], json.dumps(response_format[name]["schema"]))
    return Grammar(_KINDS[name], response_format.get(name, ""))


def biases_of(logit_bias: dict[str, float]) -> tuple[tuple[int, float], ...]:
    """(token id, bias) of a checked `logit_bias`, by id."""
    return tuple(sorted((int(token_id), value) for token_id, value in logit_bias.items()))


def _is_token_id(key: str) -> bool:
    return key.isascii() and key.isdecimal() and len(key) < 10 and str(int(key)) == key
