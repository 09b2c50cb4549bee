"""GET /api/usage: what was used, as JSON or as CSV for a spreadsheet."""

from __future__ import annotations

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.answer_schemas import NOT_FOUND, USAGE
from accounts.api.renderers import CsvRenderer
from accounts.api.usage_filters import UsageFilters, question_of
from accounts.usage import COUNTS, UsageViewer, sum_usage, total_usage
from llamagpu.http.filters import read_filters
from llamagpu.http.permissions import SignedIn

MAX_ROWS = 1_000
MAX_CSV_ROWS = 100_000


class UsageView(APIView):
    """One's own usage; everybody's for who may read the system configuration."""

    access = SignedIn()
    renderer_classes = [JSONRenderer, CsvRenderer]

    @extend_schema(
        operation_id="read_usage",
        parameters=[UsageFilters],
        responses={
            (200, "application/json"): USAGE,
            (200, "text/csv"): OpenApiTypes.STR,
            404: NOT_FOUND,
        },
    )
    def get(self, request: Request) -> Response:
        fields = read_filters(request, UsageFilters)
        question, groups = question_of(fields), fields["group_by"]
        rows = UsageViewer(request.user, request.auth).choose(question)
        if request.accepted_renderer.format == CsvRenderer.format:
            table = {
                "columns": [*groups, *COUNTS],
                "results": sum_usage(rows, groups, MAX_CSV_ROWS),
            }
            name = f"usage_{question.first}_{question.last}.csv"
            disposition = f'attachment; filename="{name}"'
            return Response(table, headers={"Content-Disposition": disposition})
        results = sum_usage(rows, groups, MAX_ROWS + 1)
        return Response(
            {
                "success": True,
                "from": question.first,
                "to": question.last,
                "group_by": groups,
                "results": results[:MAX_ROWS],
                "truncated": len(results) > MAX_ROWS,
                "totals": total_usage(rows),
            }
        )

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(response, Response) and response.exception:  # an error is no table
            request.accepted_renderer = JSONRenderer()
            request.accepted_media_type = JSONRenderer.media_type
        return super().finalize_response(request, response, *args, **kwargs)
