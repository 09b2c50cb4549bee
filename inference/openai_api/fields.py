"""Stage 2/7 of the OpenAI door: fields that chat and plain completions share.

What is not listed is refused by name: a parameter that is accepted does what it says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rest_framework import serializers

from inference.api.serializers import SamplingSerializer
from inference.protocol import SamplingParams
from llamagpu.http.fields import FlagField, StrictSerializer, TextField, WholeNumberField
from monitoring.configuration import current

#: Answers to one prompt.
MAX_CHOICES = 16


class StreamOptionsSerializer(StrictSerializer):
    include_usage = FlagField(default=False)


class NullsLeftOut(serializers.Serializer[Any]):
    """Takes a null as no value, for every field that has no need of one."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            optional = {name for name, field in self.fields.items() if not field.required}
            data = {k: v for k, v in data.items() if v is not None or k not in optional}
        return super().to_internal_value(data)


class CallSerializer(NullsLeftOut, SamplingSerializer):
    """Parameters of every call that generates. A null is the same as no value.

    `max_tokens` is None where it is not given: what the context has left.
    """

    model = TextField(max_length=128)
    max_tokens = WholeNumberField(default=None, min_value=1)
    n = WholeNumberField(default=1, min_value=1, max_value=MAX_CHOICES)
    # The seed of answer i is this one plus i.
    seed = WholeNumberField(default=None, min_value=-(2**63), max_value=2**63 - 1)
    stream = FlagField(default=False)
    stream_options = StreamOptionsSerializer(required=False)
    user = TextField(default="", max_length=128, help_text="whom the caller asks for, for the log")

    def validate_max_tokens(self, value: int | None) -> int | None:  # type: ignore[override]
        return None if value is None else super().validate_max_tokens(value)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "stream_options" in attrs and not attrs["stream"]:
            raise serializers.ValidationError({"stream_options": "Needs stream to be true."})
        if attrs["max_tokens"] is not None:
            super().validate(attrs)
        return attrs


def check_size(num_characters: int) -> None:
    """Raises ValidationError for more text than this server reads."""
    limit = current().max_input_chars
    if num_characters > limit:
        raise serializers.ValidationError(
            f"Has {num_characters} characters; at most {limit} are accepted."
        )


def includes_usage(fields: dict[str, Any]) -> bool:
    """Whether a checked call asks for a last chunk with the token counts."""
    return bool(fields.get("stream_options", {}).get("include_usage", False))


def problem(field: str, message: str, path: Sequence[str | int] = ()) -> Exception:
    """A validation error of one field; `path` leads further into it."""
    detail: Any = [message]
    for step in reversed(path):
        detail = {str(step): detail}
    return serializers.ValidationError({field: detail})


def with_limit(params: SamplingParams, max_tokens: int) -> SamplingParams:
    """`params` with the number of tokens that is left. Raises ValidationError."""
    if params.min_tokens > max_tokens:
        raise problem("min_tokens", f"Must be at most {max_tokens}, which the context has left.")
    return replace(params, max_tokens=max_tokens)
