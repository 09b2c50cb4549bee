"""Stage 2/7: JSON to a checked call, or one error that names the field and the rule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied

from inference.api.sampling_fields import (
    LogitBiasField,
    ResponseFormatSerializer,
    biases_of,
    grammar_of,
)
from inference.models import Model
from inference.prompts import check_answer_length, most_new_tokens
from inference.protocol import ChatMessage, Prompt, SamplingParams
from inference.querysets import sees_models
from llamagpu.http.errors import AppError
from llamagpu.http.fields import (
    FlagField,
    NumberField,
    StrictSerializer,
    TextField,
    WholeNumberField,
)
from llamagpu.http.permissions import Action, Resource
from llamagpu.http.schema_words import asked
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.prepared_query import PreparedQuery
from monitoring.configuration import current

MAX_MESSAGES = 512
MAX_STOP_STRINGS = 8
MAX_LOGPROBS = 20
DEFAULT_MAX_TOKENS = 100
_OTHER_NAMES = {
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "response_format": "grammar",
}


@dataclass(frozen=True, slots=True)
class GenerationCall:
    """A valid call: what `submit_job` needs besides the caller."""

    model: Model
    prompt: Prompt
    params: SamplingParams
    priority: int
    timeout: float
    is_resumable: bool = False


class StopField(serializers.ListField):
    """Up to eight strings; a single string counts as a list of one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(child=TextField(max_length=256), max_length=MAX_STOP_STRINGS, **kwargs)

    def to_internal_value(self, data: Any) -> list[str]:
        return super().to_internal_value([data] if isinstance(data, str) else data)


class MessageSerializer(StrictSerializer):
    role = serializers.ChoiceField(choices=["system", "user", "assistant"])
    content = TextField(allow_blank=True)


class SamplingSerializer(StrictSerializer):
    """The parameters that every generating call shares. Nothing is clamped: out of range is refused."""

    max_tokens = WholeNumberField(
        default=DEFAULT_MAX_TOKENS,
        min_value=1,
        help_text="the answer ends after so many new tokens at the latest",
    )
    temperature = NumberField(
        default=1.0,
        min_value=0.0,
        max_value=2.0,
        help_text="0 always takes the likeliest token, more is more varied",
    )
    top_p = NumberField(
        default=1.0,
        min_value=0.0,
        max_value=1.0,
        help_text="only the likeliest tokens that make up this share; over 0",
    )
    top_k = WholeNumberField(
        default=0,
        min_value=0,
        max_value=1_000_000,
        help_text="only so many of the likeliest tokens; 0: all",
    )
    min_p = NumberField(
        default=0.0,
        min_value=0.0,
        max_value=1.0,
        help_text="drops tokens under this share of the likeliest one's probability",
    )
    repetition_penalty = NumberField(
        default=1.0,
        min_value=0.1,
        max_value=10.0,
        help_text="over 1 makes what was said already less likely",
    )
    presence_penalty = NumberField(
        default=0.0,
        min_value=-2.0,
        max_value=2.0,
        help_text="over 0 favours tokens that have not come yet",
    )
    frequency_penalty = NumberField(
        default=0.0,
        min_value=-2.0,
        max_value=2.0,
        help_text="over 0 disfavours tokens by how often they came",
    )
    stop = StopField(
        default=list,
        help_text="the answer ends before any of these strings; one string counts as a list",
    )
    seed = WholeNumberField(
        default=None,
        allow_null=True,
        min_value=0,
        max_value=2**63 - 1,
        help_text="the same seed gives the same text",
    )
    logprobs = WholeNumberField(
        default=None,
        allow_null=True,
        min_value=0,
        max_value=MAX_LOGPROBS,
        help_text="tells each token's logarithmic probability, and so many of the likeliest others",
    )
    min_tokens = WholeNumberField(
        default=0,
        min_value=0,
        help_text="neither a stop string nor the model ends the answer before",
    )
    ignore_eos = FlagField(default=False, help_text="goes on where the model would end")
    logit_bias = LogitBiasField(
        default=dict, allow_null=True, help_text="what is added to the logits of these token ids"
    )
    response_format = ResponseFormatSerializer(
        default=None,
        allow_null=True,
        help_text="what the answer must be: JSON, by a schema, a pattern or a grammar",
    )

    def validate_max_tokens(self, value: int) -> int:
        limit = current().max_new_tokens
        if value > limit:
            raise serializers.ValidationError(f"Must be at most {limit}.")
        return value

    def validate_top_p(self, value: float) -> float:
        if value == 0:
            raise serializers.ValidationError("Must be over 0.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["min_tokens"] > attrs["max_tokens"]:
            raise serializers.ValidationError(
                {"min_tokens": f"Must be at most max_tokens, which is {attrs['max_tokens']}."}
            )
        return attrs


@asked({"text": "What is the capital of France?", "max_tokens": 20, "temperature": 0})
class InferSerializer(SamplingSerializer):
    """Body of POST /api/infer and /api/stream_infer."""

    text = TextField(required=False, help_text="the prompt; this or `messages`")
    messages = MessageSerializer(
        many=True,
        required=False,
        allow_empty=False,
        help_text="a chat, oldest first; this or `text`",
    )
    model = TextField(
        required=False, max_length=128, help_text="the default model where it is left out"
    )
    priority = WholeNumberField(
        default=0,
        min_value=-100,
        max_value=100,
        help_text="goes before lower ones in the queue; over 0 only for who may manage models",
    )
    timeout = NumberField(
        required=False, min_value=0.001, help_text="seconds for all of it, waiting too"
    )
    resumable = FlagField(
        default=False, help_text="goes on for a while when its caller leaves, who may come back"
    )

    def validate_text(self, value: str) -> str:
        _check_length(len(value))
        return value

    def validate_messages(self, value: list[dict[str, str]]) -> list[dict[str, str]]:
        if len(value) > MAX_MESSAGES:
            raise serializers.ValidationError(f"Must have at most {MAX_MESSAGES} messages.")
        _check_length(sum(len(message["content"]) for message in value))
        return value

    def validate_timeout(self, value: float) -> float:
        limit = current().job_timeout
        if value > limit:
            raise serializers.ValidationError(f"Must be at most {limit} seconds.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("text" in attrs) == ("messages" in attrs):
            raise serializers.ValidationError(
                {"text": "Exactly one of text and messages is required."}
            )
        return super().validate(attrs)


class PlainInferSerializer(InferSerializer):
    """POST /api/infer answers with one JSON body, so `stream` may only be false."""

    stream = FlagField(default=False)

    def validate_stream(self, value: bool) -> bool:
        if value:
            raise serializers.ValidationError("Streams are served by POST /api/stream_infer.")
        return value


class StreamInferSerializer(InferSerializer):
    stream = FlagField(default=True)

    def validate_stream(self, value: bool) -> bool:
        if not value:
            raise serializers.ValidationError("Answers in one piece are served by POST /api/infer.")
        return value


def read_call(serializer: InferSerializer, user: Any, key: Any) -> GenerationCall:
    """The checked call of `user`, who came with `key`, or with a session (None).

    Raises ValidationError, PermissionDenied or AppError, all before any write.
    """
    serializer.is_valid(raise_exception=True)
    fields = dict(serializer.validated_data)
    if fields["priority"] > 0 and not user.can(Resource.MODELS, Action.WRITE):
        raise PermissionDenied("priority: only who may manage models may go before others.")
    model = find_model(fields.get("model") or current().default_model, user, key)
    if not model.is_enabled:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"The model '{model.slug}' is disabled.")
    prompt = Prompt(
        text=fields.get("text"),
        messages=tuple(ChatMessage(**message) for message in fields["messages"])
        if "messages" in fields
        else None,
    )
    limit_answer(model, fields, is_asked="max_tokens" in serializer.initial_data)
    params = read_params(fields, serializer.initial_data)
    return GenerationCall(
        model=model,
        prompt=prompt,
        params=params,
        priority=fields["priority"],
        timeout=fields.get("timeout", float(current().job_timeout)),
        is_resumable=fields["resumable"],
    )


def limit_answer(model: Model, fields: dict[str, Any], *, is_asked: bool) -> None:
    """Lower a default that is beyond the model's own limit. Raises AppError INVALID_INPUT for more that
    was asked for."""
    if not is_asked:
        fields["max_tokens"] = min(fields["max_tokens"], most_new_tokens(model))
    check_answer_length(model, max(fields["max_tokens"], fields["min_tokens"]))


def read_params(fields: dict[str, Any], body: Mapping[str, Any]) -> SamplingParams:
    """The parameters of a call from the checked fields of a `SamplingSerializer` for its `body`."""
    values = {
        **fields,
        "stop": tuple(fields["stop"]),
        "logit_bias": biases_of(fields["logit_bias"] or {}),
        "grammar": grammar_of(fields["response_format"]),
        "given": given_in(body),
    }
    names = SamplingParams.__dataclass_fields__
    return SamplingParams(**{name: values[name] for name in names if name in values})


def given_in(body: Mapping[str, Any]) -> tuple[str, ...]:
    """The parameters that a body names, by their names in `SamplingParams`; a null gives none."""
    named = {_OTHER_NAMES.get(name, name) for name, value in body.items() if value is not None}
    return tuple(sorted(named & SamplingParams.__dataclass_fields__.keys()))


_AVAILABLE: PreparedQuery[Model] = PreparedQuery(
    lambda slug: Model.objects.known().available().filter(slug=slug).order_by()
)


def find_model(slug: str, user: Any, key: Any) -> Model:
    """Raises AppError MODEL_NOT_FOUND, also for a model that the user may not see or `key` not use."""
    is_open = sees_models(user) and (key is None or key.allows_model(slug))
    model = _AVAILABLE.first(slug) if is_open else None
    if model is None:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"There is no model '{slug}'.")
    return model


def _check_length(num_characters: int) -> None:
    limit = current().max_input_chars
    if num_characters > limit:
        raise serializers.ValidationError(
            f"Has {num_characters} characters; at most {limit} are accepted."
        )
