"""Stage 2/7 of `/v1/embeddings`: its body."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.openai_api.fields import NullsLeftOut, check_size
from inference.openai_api.prompt_fields import PromptField, prompt_schema
from inference.protocol import Prompt
from llamagpu.http.fields import StrictSerializer, TextField, WholeNumberField
from llamagpu.http.schema_words import asked

#: Inputs of one call.
MAX_INPUTS = 256


@extend_schema_field(prompt_schema(MAX_INPUTS))
class InputsField(PromptField):
    """A text, a list of texts, token ids, or a list of lists of token ids; read as `Prompt`s."""

    most = MAX_INPUTS
    noun = "inputs"


@asked({"model": "smollm2-135m-instruct", "input": ["a llama", "interest rates"]})
class EmbeddingSerializer(NullsLeftOut, StrictSerializer):
    """Body of POST /v1/embeddings. A null is the same as no value."""

    model = TextField(max_length=128)
    input = InputsField()
    encoding_format = serializers.ChoiceField(choices=["float", "base64"], default="float")
    dimensions = WholeNumberField(
        required=False, help_text="refused: the vectors of a model have one length"
    )
    user = TextField(default="", max_length=128, help_text="whom the caller asks for, for the log")

    def validate_input(self, value: list[Prompt]) -> list[Prompt]:
        check_size(sum(len(prompt.text or prompt.token_ids or ()) for prompt in value))
        return value

    def validate_dimensions(self, value: int) -> Any:
        raise serializers.ValidationError(
            "Is not offered: the vectors of a model have one length. Leave it out."
        )
