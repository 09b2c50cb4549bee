"""GET /api/system/metrics: what was measured over time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.fields import StrictSerializer
from llamagpu.http.filters import read_filters
from llamagpu.http.permissions import READ_MONITORING
from monitoring.api.system_schemas import HISTORY
from monitoring.history.query import (
    GRANULARITIES,
    TIMEFRAMES,
    USUAL_GRANULARITY,
    Column,
    read_columns,
    span_of,
)
from monitoring.history.series import EVERY, SERIES, USUAL
from monitoring.models import MetricSample


class HistoryFilters(StrictSerializer):
    """`series` is a list of names with commas between, or `all`."""

    timeframe = serializers.ChoiceField(list(TIMEFRAMES), required=False, default="1h")
    granularity = serializers.ChoiceField(list(GRANULARITIES), required=False)
    node = serializers.CharField(max_length=64, required=False)
    series = serializers.CharField(max_length=4000, required=False)
    model = serializers.CharField(max_length=128, required=False)

    def validate_series(self, text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
        if names == (EVERY,):
            return tuple(SERIES)
        if unknown := [name for name in names if name not in SERIES]:
            raise serializers.ValidationError(
                f"There is no series {unknown[0]!r}: {', '.join(sorted(SERIES))} or {EVERY}."
            )
        return names

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if TIMEFRAMES[attrs["timeframe"]] < GRANULARITIES[attrs.get("granularity", "1m")]:
            raise serializers.ValidationError({"granularity": "Longer than the time frame."})
        return attrs


class ColumnsRenderer(JSONRenderer):
    """As JSON, fast for long lists of numbers; what is not a number becomes null."""

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return msgspec.json.encode(data)


class HistoryView(APIView):
    """GET /api/system/metrics"""

    access = READ_MONITORING
    renderer_classes = [ColumnsRenderer]

    @extend_schema(operation_id="system_metrics", parameters=[HistoryFilters], responses=HISTORY)
    def get(self, request: Request) -> Response:
        asked = read_filters(request, HistoryFilters)
        granularity = asked.get("granularity") or USUAL_GRANULARITY[asked["timeframe"]]
        span = span_of(asked["timeframe"], granularity)
        rows = MetricSample.objects.visible_to(request.user).of_node(asked.get("node"))
        columns = read_columns(rows, span, asked.get("series", USUAL), asked.get("model"))
        return Response(
            {
                "success": True,
                "timeframe": asked["timeframe"],
                "granularity": granularity,
                "start": _time(span.start),
                "end": _time(span.end),
                "step": span.step,
                "series": [_shown(column) for column in columns],
            }
        )


def _shown(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "node": column.node,
        "unit": column.unit,
        "values": column.values,
    }


def _time(unix: int) -> str:
    return datetime.fromtimestamp(unix, UTC).isoformat()
