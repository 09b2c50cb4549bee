"""GET /api/benchmarks: what benchmarks of this installation have found."""

from __future__ import annotations

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from inference.benchmark.saved import saved_reports
from llamagpu.http.fields import StrictSerializer
from llamagpu.http.filters import read_filters
from llamagpu.http.permissions import READ_MONITORING
from llamagpu.http.schema_words import (
    OBJECT,
    TEXT,
    TIME,
    WHOLE,
    answer,
    described,
    list_of,
    record,
    shown,
)

_REPORT = record(
    id=TEXT,
    created_at=TIME,
    report=described(OBJECT, "as `manage.py bench --json` prints it"),
)
BENCHMARKS = shown(
    answer(count=WHOLE, benchmarks=list_of(_REPORT)),
    {"success": True, "count": 0, "benchmarks": []},
)


class BenchmarksView(APIView):
    """GET /api/benchmarks: the reports that `manage.py bench --save` has kept, the newest first."""

    access = READ_MONITORING

    @extend_schema(operation_id="list_benchmarks", responses=BENCHMARKS)
    def get(self, request: Request) -> Response:
        read_filters(request, StrictSerializer)
        reports = saved_reports(settings.LLAMA.benchmark_dir)
        shown_reports = [
            {
                "id": report.name,
                "created_at": report.created_at.isoformat(),
                "report": report.content,
            }
            for report in reports
        ]
        return Response({"success": True, "count": len(reports), "benchmarks": shown_reports})
