"""What a message on `/ws/infer/` may hold besides what the REST call of the same name takes."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from llamagpu.http.fields import StrictSerializer, TextField
from llamagpu.lib.tracing import is_traceparent

ACTIONS = ("infer", "cancel", "resume", "ping")


class CallIdField(TextField):
    """The caller's own name of a call: all that the server says of that one carries it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=128, **kwargs)


class InferMessage(serializers.Serializer[Any]):
    """All other fields are those of `POST /api/stream_infer`, checked there."""

    id = CallIdField()
    idempotency_key = TextField(required=False, max_length=255)
    traceparent = TextField(required=False, max_length=55)

    def validate_traceparent(self, value: str) -> str:
        if not is_traceparent(value):
            raise serializers.ValidationError("Must be a traceparent as W3C writes it.")
        return value


class CancelMessage(StrictSerializer):
    """Ends a call of this socket by its id, or any job of one's own by its `job_id`."""

    action = serializers.ChoiceField(choices=ACTIONS)
    id = CallIdField()
    job_id = serializers.UUIDField(required=False)


class ResumeMessage(StrictSerializer):
    """`cursor` is the `event_id` of the last event that the caller has; without it all that there are."""

    action = serializers.ChoiceField(choices=ACTIONS)
    id = CallIdField()
    job_id = serializers.UUIDField()
    cursor = serializers.RegexField(r"\A\d{1,9}-\d{1,18}\Z", required=False, default="")


class PingMessage(StrictSerializer):
    action = serializers.ChoiceField(choices=ACTIONS)
    id = CallIdField(required=False)


#: Fields of a message that belong to the socket and not to the call.
ENVELOPE = frozenset({"action", "id", "idempotency_key", "traceparent"})


def checked(message: serializers.Serializer[Any]) -> dict[str, Any]:
    """The fields. Raises ValidationError."""
    message.is_valid(raise_exception=True)
    return dict(message.validated_data)
