"""Batches as clients of OpenAI's API ask for them and read them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, extend_schema_serializer
from rest_framework import serializers

from inference.models import FileBatch
from inference.openai_api.batch_calls import READERS
from inference.openai_api.file_fields import file_name_of, id_in, seconds_of
from inference.states import FileBatchState
from llamagpu.http.errors import AppError
from llamagpu.http.fields import StrictSerializer, TextField
from llamagpu.http.schema_words import answered
from llamagpu.lib.error_codes import ErrorCode

BATCH_PREFIX = "batch_"
MAX_METADATA, MAX_METADATA_KEY, MAX_METADATA_VALUE = 16, 64, 512


class MetadataField(serializers.DictField):
    """Up to 16 pairs of strings."""

    def __init__(self, **kwargs: Any) -> None:
        child = TextField(max_length=MAX_METADATA_VALUE, allow_blank=True)
        super().__init__(child=child, **kwargs)

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Must be a JSON object of strings.")
        if len(data) > MAX_METADATA:
            raise serializers.ValidationError(f"Must have at most {MAX_METADATA} pairs.")
        for name in data:
            TextField(max_length=MAX_METADATA_KEY).run_validation(name)
        for value in data.values():
            if "\x00" in str(value):
                raise serializers.ValidationError("Must not hold a NUL.")
        return super().to_internal_value(data)


@extend_schema_serializer(
    examples=[
        OpenApiExample(
            "a batch of chats",
            request_only=True,
            value={
                "input_file_id": "file-0f3c6f0e8d5b4a5d9a3c1f0b7a1e2d3c",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "metadata": {"run": "7"},
            },
        )
    ]
)
class BatchRequestSerializer(StrictSerializer):
    """Body of POST /v1/batches."""

    input_file_id = TextField(max_length=64)
    endpoint = serializers.ChoiceField(choices=list(READERS))
    completion_window = serializers.ChoiceField(choices=["24h"])
    metadata = MetadataField(required=False, allow_null=True)


class BatchProblemSerializer(serializers.Serializer[Any]):
    """What is wrong with the input, or why the batch was stopped."""

    code = serializers.CharField()
    message = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    line = serializers.IntegerField(allow_null=True)


class BatchProblemsSerializer(serializers.Serializer[Any]):
    """All of them."""

    object = serializers.ChoiceField(choices=["list"])
    data = BatchProblemSerializer(many=True)  # type: ignore[assignment]


class BatchCountsSerializer(serializers.Serializer[Any]):
    """How far a batch is."""

    total = serializers.IntegerField()
    completed = serializers.IntegerField()
    failed = serializers.IntegerField()


_BATCH = {
    "id": "batch_5b0e8f0e8d5b4a5d9a3c1f0b7a1e2d3c",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": "file-0f3c6f0e8d5b4a5d9a3c1f0b7a1e2d3c",
    "completion_window": "24h",
    "status": "in_progress",
    "output_file_id": None,
    "error_file_id": None,
    "created_at": 1795966000,
    "in_progress_at": 1795966001,
    "expires_at": 1796052400,
    **dict.fromkeys(("finalizing_at", "completed_at", "failed_at", "expired_at")),
    **dict.fromkeys(("cancelling_at", "cancelled_at")),
    "request_counts": {"total": 100, "completed": 40, "failed": 1},
    "metadata": {"run": "7"},
}


@answered(_BATCH)
class BatchObjectSerializer(serializers.Serializer[Any]):
    """A batch. Times are seconds since 1970; null where a state was not entered."""

    id = serializers.CharField()
    object = serializers.ChoiceField(choices=["batch"])
    endpoint = serializers.CharField()
    errors = BatchProblemsSerializer(allow_null=True)  # type: ignore[assignment]
    input_file_id = serializers.CharField()
    completion_window = serializers.ChoiceField(choices=["24h"])
    status = serializers.ChoiceField(choices=[state.value for state in FileBatchState])
    output_file_id = serializers.CharField(allow_null=True)
    error_file_id = serializers.CharField(allow_null=True)
    created_at = serializers.IntegerField()
    in_progress_at = serializers.IntegerField(allow_null=True)
    expires_at = serializers.IntegerField()
    finalizing_at = serializers.IntegerField(allow_null=True)
    completed_at = serializers.IntegerField(allow_null=True)
    failed_at = serializers.IntegerField(allow_null=True)
    expired_at = serializers.IntegerField(allow_null=True)
    cancelling_at = serializers.IntegerField(allow_null=True)
    cancelled_at = serializers.IntegerField(allow_null=True)
    request_counts = BatchCountsSerializer()
    metadata = serializers.DictField(child=serializers.CharField(), allow_null=True)


@answered(
    {
        "object": "list",
        "data": [_BATCH],
        "first_id": _BATCH["id"],
        "last_id": _BATCH["id"],
        "has_more": False,
    }
)
class BatchListSerializer(serializers.Serializer[Any]):
    """One page of batches."""

    object = serializers.ChoiceField(choices=["list"])
    data = BatchObjectSerializer(many=True)  # type: ignore[assignment]
    first_id = serializers.CharField(allow_null=True)
    last_id = serializers.CharField(allow_null=True)
    has_more = serializers.BooleanField()


_MOMENTS = (
    "in_progress",
    "finalizing",
    "completed",
    "failed",
    "expired",
    "cancelling",
    "cancelled",
)


def batch_fields(batch: FileBatch) -> dict[str, Any]:
    # Files have their ids before they can be read.
    has_files = FileBatchState(batch.state).is_final
    errors = {"object": "list", "data": batch.errors} if batch.errors else None
    return {
        "id": str(batch),
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": file_name_of(batch.input_file_id),
        "completion_window": "24h",
        "status": batch.state,
        "output_file_id": file_name_of(batch.output_file_id) if has_files else None,
        "error_file_id": file_name_of(batch.error_file_id) if has_files else None,
        "created_at": seconds_of(batch.created_at),
        "expires_at": seconds_of(batch.expires_at),
        **{f"{name}_at": batch.entered.get(name) for name in _MOMENTS},
        "request_counts": {
            "total": batch.num_lines,
            "completed": batch.num_completed,
            "failed": batch.num_failed,
        },
        "metadata": batch.metadata,
    }


def find_batch(user: Any, name: str) -> FileBatch:
    """Raises AppError NOT_FOUND, also for a batch that is another's."""
    batch_id = id_in(name, BATCH_PREFIX)
    row = FileBatch.objects.visible_to(user).filter(pk=batch_id).first() if batch_id else None
    if row is None:
        raise AppError(ErrorCode.NOT_FOUND, f"There is no batch '{name[:64]}'.")
    return row
