"""Which jobs are asked for: query parameters of GET /api/jobs."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from inference.models import InferenceJob
from inference.querysets import InferenceJobQuerySet, sees_all_jobs
from inference.states import JobState
from llamagpu.http.errors import AppError
from llamagpu.http.fields import StrictSerializer, TextField
from llamagpu.http.filters import read_filters
from llamagpu.lib.error_codes import ErrorCode

_TIMES = ["iso-8601", "%Y-%m-%d"]
_STATES = [state.value for state in JobState]


@extend_schema_field({"type": "string", "example": "queued,running"})
class StatesField(serializers.Field[Any, Any, Any, Any]):
    """One state or several, with commas between them."""

    def to_internal_value(self, data: Any) -> list[str]:
        names = str(data).split(",")
        if any(name not in _STATES for name in names) or len(set(names)) < len(names):
            raise ValidationError(
                f"Must be one or several of {', '.join(_STATES)}, each once, with commas between them."
            )
        return names

    def to_representation(self, value: Any) -> str:
        return ",".join(value)


class JobFilters(StrictSerializer):
    """All of them must hold. `since` is included, `until` is not; `user` is for Admins."""

    state = StatesField(required=False)
    model = TextField(max_length=128, required=False)
    request_id = TextField(max_length=64, required=False)
    since = serializers.DateTimeField(input_formats=_TIMES, required=False)
    until = serializers.DateTimeField(input_formats=_TIMES, required=False)
    user = TextField(max_length=150, required=False)
    key = TextField(max_length=8, required=False, help_text="a key's prefix")
    is_streamed = serializers.BooleanField(required=False)
    batch = serializers.UUIDField(required=False)


def choose_jobs(request: Request) -> InferenceJobQuerySet:
    """The jobs that `request` asks for, of those that its caller may see.

    Raises ValidationError, and AppError PERMISSION_DENIED where `user` names somebody whose jobs the
    caller does not see, be there such a user or not.
    """
    filters = read_filters(request, JobFilters)
    name = filters.get("user", request.user.username)
    if name != request.user.username and not sees_all_jobs(request.user, request.auth):
        raise AppError(
            ErrorCode.PERMISSION_DENIED, "user: Only Admins may ask for the jobs of others."
        )
    jobs: InferenceJobQuerySet = InferenceJob.objects.visible_to(request.user, request.auth)
    return jobs.matching(filters)
