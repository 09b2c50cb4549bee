"""Edge of the log: `/api/system/logs`."""

from __future__ import annotations

from dataclasses import asdict

import redis
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.errors import AppError
from llamagpu.http.fields import StrictSerializer
from llamagpu.http.filters import read_filters
from llamagpu.http.permissions import READ_SYSTEM
from llamagpu.http.schema_words import TEXT, TIME, WHOLE, answer, list_of, or_null, record, shown
from llamagpu.lib.error_codes import ErrorCode
from monitoring.logs.reading import (
    COMPONENTS,
    DEFAULT_LIMIT,
    LEVELS,
    MAX_LIMIT,
    LogQuestion,
    find_lines,
)

_TIMES = ["iso-8601", "%Y-%m-%d"]
_PLACE = r"\A\d{1,15}-\d{1,10}\Z"


class LogFilters(StrictSerializer):
    """All of them must hold. `level` is the mildest; `after` and `before` are ids of lines."""

    level = serializers.ChoiceField(LEVELS, required=False)
    component = serializers.ChoiceField(COMPONENTS, required=False)
    request_id = serializers.CharField(max_length=64, required=False)
    text = serializers.CharField(max_length=200, required=False)
    since = serializers.DateTimeField(input_formats=_TIMES, required=False)
    until = serializers.DateTimeField(input_formats=_TIMES, required=False)
    after = serializers.RegexField(_PLACE, required=False)
    before = serializers.RegexField(_PLACE, required=False)
    limit = serializers.IntegerField(
        min_value=1, max_value=MAX_LIMIT, required=False, default=DEFAULT_LIMIT
    )


_LINE = record(
    id=TEXT, timestamp=TIME, level=TEXT, component=TEXT, logger=TEXT, message=TEXT, node=TEXT,
    process=or_null(WHOLE), request_id=TEXT, exception=TEXT,
)  # fmt: skip
_EXAMPLE = {
    "id": "1796040000000-0", "timestamp": "2026-11-29T16:00:00+00:00", "level": "WARNING",
    "component": "worker", "logger": "inference.worker.generation",
    "message": "job 5f0c2a7b: the engine died, beginning again", "node": "gpu-1", "process": 4711,
    "request_id": "req_5f0c2a7b9d1e4c6f8a0b2d4e", "exception": "",
}  # fmt: skip
LINES = shown(answer(logs=list_of(_LINE)), {"success": True, "logs": [_EXAMPLE]})


class LogsView(APIView):
    """GET /api/system/logs"""

    access = READ_SYSTEM

    @extend_schema(operation_id="system_logs", parameters=[LogFilters], responses=LINES)
    def get(self, request: Request) -> Response:
        """The last lines of all processes, newest first."""
        question = LogQuestion(**read_filters(request, LogFilters, has_pages=False))
        try:
            lines = find_lines(question)
        except redis.RedisError as error:
            raise AppError(
                ErrorCode.BACKEND_UNAVAILABLE, "Redis, where log lines are kept, does not answer."
            ) from error
        return Response({"success": True, "logs": [asdict(line) for line in lines]})
