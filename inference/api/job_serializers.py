"""Bodies of the jobs API: what is read, and what the description says of the answers."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from inference.states import JobKind, JobState
from llamagpu.http.fields import StrictSerializer, TextField

_STATES = [state.value for state in JobState]
_STAGES = (
    "admission", "limits", "queue", "attempt", "plugins_before", "load", "engine_queue", "prefill",
    "decode", "plugins_after", "end", "retention",
)  # fmt: skip


class ContentRequestSerializer(StrictSerializer):
    """Why somebody else's texts are to be read."""

    reason = TextField(min_length=10, max_length=500)

    def validate_reason(self, value: str) -> str:
        if len(value.strip()) < 10:
            raise serializers.ValidationError("Must say why, in at least 10 characters.")
        return value


class JobUsageSerializer(serializers.Serializer[Any]):
    prompt_tokens = serializers.IntegerField()
    completion_tokens = serializers.IntegerField()
    total_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()


class JobTimingsSerializer(serializers.Serializer[Any]):
    """Seconds; null is what was not measured."""

    admission_time = serializers.FloatField(allow_null=True)
    queue_time = serializers.FloatField(allow_null=True)
    load_time = serializers.FloatField(allow_null=True)
    engine_wait = serializers.FloatField(allow_null=True)
    ttft = serializers.FloatField(allow_null=True)
    inference_time = serializers.FloatField(allow_null=True)


class JobErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class JobSerializer(serializers.Serializer[Any]):
    """A job without anything that was asked or answered."""

    job_id = serializers.UUIDField()
    request_id = serializers.CharField()
    owner = serializers.CharField()
    key = serializers.CharField(allow_null=True, help_text="the key's prefix; null by a session")
    end_user = serializers.CharField()
    kind = serializers.ChoiceField([kind.value for kind in JobKind])
    model = serializers.CharField()
    batch_id = serializers.UUIDField(allow_null=True)
    state = serializers.ChoiceField(_STATES)
    is_streamed = serializers.BooleanField()
    priority = serializers.IntegerField()
    attempt = serializers.IntegerField()
    worker = serializers.CharField()
    backend = serializers.CharField()
    created_at = serializers.DateTimeField()
    deadline_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    usage = JobUsageSerializer()
    timings = JobTimingsSerializer()
    finish_reason = serializers.CharField(allow_null=True)
    error = JobErrorSerializer(allow_null=True)


class JobRetentionSerializer(serializers.Serializer[Any]):
    policy = serializers.CharField(allow_null=True, help_text="null until the job has ended")
    content_until = serializers.DateTimeField(allow_null=True)
    content_removed_at = serializers.DateTimeField(allow_null=True)


class JobContentSerializer(serializers.Serializer[Any]):
    """What was asked and answered while it is kept, then at most its digests."""

    is_kept = serializers.BooleanField()
    prompt = serializers.DictField(required=False)
    params = serializers.DictField(required=False, help_text="those that hold words")
    output = serializers.CharField(required=False)
    choices = serializers.ListField(required=False, allow_null=True)
    logprobs = serializers.ListField(required=False, allow_null=True)
    prompt_logprobs = serializers.ListField(required=False, allow_null=True)
    digests = serializers.DictField(required=False, allow_null=True)


class WholeJobSerializer(JobSerializer):
    reserved_tokens = serializers.IntegerField(allow_null=True)
    plugins = serializers.ListField(
        child=serializers.CharField(), help_text="names of those that changed prompt or answer"
    )
    params = serializers.DictField(help_text="but those that hold words")
    retention = JobRetentionSerializer()
    content = JobContentSerializer(allow_null=True, help_text="null for all but the owner")


class TimelineEventSerializer(serializers.Serializer[Any]):
    stage = serializers.ChoiceField(_STAGES)
    at = serializers.DateTimeField(allow_null=True, help_text="when it began")
    duration = serializers.FloatField(allow_null=True, help_text="seconds")
    details = serializers.DictField()


class TimelineSerializer(serializers.Serializer[Any]):
    job_id = serializers.UUIDField()
    request_id = serializers.CharField()
    owner = serializers.CharField()
    model = serializers.CharField()
    state = serializers.ChoiceField(_STATES)
    events = TimelineEventSerializer(many=True)


class RefusalErrorSerializer(JobErrorSerializer):
    details = serializers.JSONField(allow_null=True, help_text="for the caller alone")


class RefusedCallSerializer(serializers.Serializer[Any]):
    """A call that ended before there was a job."""

    at = serializers.DateTimeField()
    owner = serializers.CharField()
    key = serializers.CharField(allow_null=True, help_text="the key's prefix; null by a session")
    call = serializers.CharField(help_text="method and path")
    status = serializers.IntegerField()
    error = RefusalErrorSerializer()


def answer_with(name: str, **fields: serializers.Field[Any, Any, Any, Any]) -> Any:
    """The description of `{"success": true, …}` with `fields` in it."""
    return inline_serializer(name, {"success": serializers.BooleanField(), **fields})


def page_of(
    name: str,
    row: type[serializers.Serializer[Any]],
    **fields: serializers.Field[Any, Any, Any, Any],
) -> Any:
    """The description of a page of rows, with `fields` beside them."""
    return answer_with(
        name,
        results=row(many=True),
        next=serializers.URLField(allow_null=True, help_text="null at the end"),
        previous=serializers.URLField(allow_null=True, help_text="null at the beginning"),
        **fields,
    )
