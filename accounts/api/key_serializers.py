"""JSON of keys. The values themselves are checked by `accounts.key_settings`, for every door alike."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from accounts.key_settings import MAX_ENTRIES, MAX_NAME_LENGTH
from accounts.services.api_keys import DEFAULT_GRACE, MAX_GRACE
from llamagpu.http.fields import StrictSerializer, TextField, WholeNumberField
from llamagpu.http.schema_words import asked


def _texts(max_length: int) -> serializers.ListField:
    return serializers.ListField(
        child=TextField(max_length=max_length), max_length=MAX_ENTRIES, required=False
    )


@asked({"name": "ci", "allowed_models": ["smollm2-135m-instruct"]})
class ChangeKeySerializer(StrictSerializer):
    """Body of PATCH: what is left out stays as it is; an empty list narrows nothing."""

    name = TextField(required=False, max_length=MAX_NAME_LENGTH)
    scopes = _texts(32)
    allowed_models = _texts(128)
    allowed_ips = _texts(64)
    retention = TextField(required=False, allow_blank=True, max_length=8)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="RFC 3339, in the future; null is never"
    )


@asked({"name": "ci", "scopes": ["infer"], "expires_at": "2099-01-01T00:00:00Z"})
class CreateKeySerializer(ChangeKeySerializer):
    """Body of POST. `user` is for Admins, who may make a key for somebody else."""

    name = TextField(max_length=MAX_NAME_LENGTH)
    user = TextField(required=False, max_length=150)


@asked({"grace_seconds": 3600})
class RotateKeySerializer(StrictSerializer):
    """Body of POST …/rotate."""

    grace_seconds = WholeNumberField(
        default=int(DEFAULT_GRACE.total_seconds()),
        min_value=0,
        max_value=int(MAX_GRACE.total_seconds()),
        help_text="how long the old key still works; 0 ends it at once",
    )


class KeyFilters(StrictSerializer):
    """Query parameters of the list."""

    user = serializers.CharField(
        required=False, max_length=150, help_text="for Admins: a user name, or * for everybody"
    )
    state = serializers.ChoiceField(choices=["usable", "revoked", "expired"], required=False)


def checked(serializer: StrictSerializer) -> dict[str, Any]:
    """The valid fields. Raises ValidationError."""
    serializer.is_valid(raise_exception=True)
    return dict(serializer.validated_data)
