"""Stage 2/7 of batches: what is wrong with the call is refused, what is wrong with an input is noted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from inference.api.serializers import (
    InferSerializer,
    SamplingSerializer,
    find_model,
    limit_answer,
    read_params,
)
from inference.models import Model
from inference.presence import WorkerReport
from inference.prompts import check_fits, context_length, most_tokens
from inference.protocol import ChatMessage, Prompt
from inference.services.batches import Entry, Work
from inference.services.submission import PromptTokens
from llamagpu.http.errors import AppError, as_app_error
from llamagpu.http.fields import FlagField, NumberField, TextField, WholeNumberField
from llamagpu.http.schema_words import asked
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current

#: After every single call, before nothing.
DEFAULT_PRIORITY = -10
#: Seconds that a batch may take for which nobody waits.
LONGEST_TIMEOUT = 86_400.0
MAX_ID_LENGTH = 128


@dataclass(frozen=True, slots=True)
class BatchCall:
    """A call whose frame is sound; `inputs` are (id, the fields of one input), not checked yet."""

    model: Model
    inputs: tuple[tuple[str, Any], ...]
    priority: int
    timeout: float
    is_async: bool


class InputsField(serializers.ListField):
    """The inputs as they came, their number checked."""

    default_error_messages = {"not_a_list": "Must be an array of strings or objects."}

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            self.fail("not_a_list", input_type=type(data).__name__)
        limit = current().max_batch_inputs
        if not 1 <= len(data) <= limit:
            raise serializers.ValidationError(
                f"Has {len(data)} inputs; from 1 to {limit} are accepted (LLAMA_MAX_BATCH_INPUTS)."
            )
        return data


class BatchItemSerializer(InferSerializer):
    """One input, the call's parameters and its own put together."""

    # What holds for the whole call, and what is not kept of a job that nobody reads along.
    model = None  # type: ignore[assignment]
    priority = None  # type: ignore[assignment]
    timeout = None  # type: ignore[assignment]
    logprobs = None  # type: ignore[assignment]
    resumable = None  # type: ignore[assignment]


@asked(
    {
        "inputs": [
            "What is the capital of France?",
            {"id": "peru", "text": "What is the capital of Peru?", "max_tokens": 30},
        ],
        "max_tokens": 20,
        "temperature": 0,
    }
)
class BatchSerializer(SamplingSerializer):
    """Body of POST /api/batch_infer; `inputs` are strings, or objects with `id`, `text` or `messages`
    and parameters of their own, which go before those beside them."""

    inputs = InputsField()
    model = TextField(required=False, max_length=128)
    priority = WholeNumberField(default=DEFAULT_PRIORITY, min_value=-100, max_value=0)
    timeout = NumberField(required=False, min_value=0.001)
    logprobs = None  # type: ignore[assignment]

    def get_fields(self) -> dict[str, Any]:
        """With `async`, which is no name in Python."""
        return {**super().get_fields(), "async": FlagField(default=False)}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        longest = LONGEST_TIMEOUT if attrs["async"] else float(current().job_timeout)
        if attrs.setdefault("timeout", longest) > longest:
            raise serializers.ValidationError({"timeout": f"Must be at most {longest:g} seconds."})
        return super().validate(attrs)


def read_batch(data: Any, user: Any, key: Any) -> BatchCall:
    """The checked frame of a call. Raises ValidationError and AppError, before any write."""
    serializer = BatchSerializer(data=data)
    serializer.is_valid(raise_exception=True)
    fields = serializer.validated_data
    shared = {name: value for name, value in data.items() if name in SamplingSerializer().fields}
    model = find_model(fields.get("model") or current().default_model, user, key)
    if not model.is_enabled:
        raise AppError(ErrorCode.MODEL_NOT_FOUND, f"The model '{model.slug}' is disabled.")
    return BatchCall(
        model=model,
        inputs=tuple(_named(fields["inputs"], shared)),
        priority=fields["priority"],
        timeout=fields["timeout"],
        is_async=fields["async"],
    )


def _named(inputs: Sequence[Any], shared: dict[str, Any]) -> Iterable[tuple[str, Any]]:
    """Raises ValidationError for ids by which answers could not be told apart."""
    taken: dict[str, int] = {}
    for place, item in enumerate(inputs):
        if isinstance(item, str):
            item = {"text": item}
        name = item.get("id", str(place)) if isinstance(item, dict) else str(place)
        problem = _problem_of_id(name) or (
            f"Is the id of inputs[{taken[name]}] too." if name in taken else None
        )
        if problem:
            raise serializers.ValidationError({"inputs": {str(place): {"id": [problem]}}})
        taken[name] = place
        own = {**shared, **item} if isinstance(item, dict) else item
        if isinstance(own, dict):
            own.pop("id", None)
        yield name, own


def _problem_of_id(name: Any) -> str | None:
    try:
        TextField(max_length=MAX_ID_LENGTH).run_validation(name)
    except serializers.ValidationError as error:
        return str(next(iter(error.detail)))
    return None


def check_inputs(call: BatchCall, workers: Sequence[WorkerReport]) -> list[Entry]:
    """Each input as work, or with the reason why it is none."""
    engines = [engine for worker in workers for engine in worker.engines]
    limit = context_length(call.model, engines)
    serializer = BatchItemSerializer()
    return [
        Entry(name, _outcome(call.model, serializer, fields, limit)) for name, fields in call.inputs
    ]


def _outcome(
    model: Model, serializer: BatchItemSerializer, data: Any, limit: int
) -> Work | AppError:
    try:
        if not isinstance(data, dict):
            raise AppError(ErrorCode.INVALID_INPUT, "Must be a string or a JSON object.")
        fields = serializer.run_validation(data)
        limit_answer(model, fields, is_asked="max_tokens" in data)
        return _work(model, fields, data, limit)
    except (AppError, serializers.ValidationError) as error:
        return as_app_error(error) or AppError(ErrorCode.INVALID_INPUT, str(error))


def _work(model: Model, fields: dict[str, Any], data: dict[str, Any], limit: int) -> Work:
    messages = fields.get("messages")
    prompt = Prompt(
        text=fields.get("text"),
        messages=None if messages is None else tuple(ChatMessage(**item) for item in messages),
    )
    params = read_params(fields, data)
    counted = check_fits(model, prompt, params.max_tokens, limit)
    most = most_tokens(prompt, limit - params.max_tokens) if counted is None else counted
    return Work(prompt, params, PromptTokens(counted or 0, most))
