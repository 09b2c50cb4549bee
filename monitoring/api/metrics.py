"""GET /metrics, for Prometheus and its like."""

from __future__ import annotations

from typing import Any

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from llamagpu.http.permissions import READ_MONITORING
from monitoring.metrics.exposition import expose


class MetricsView(APIView):
    """Needs the right to read monitoring; a scraper's key needs the scope `metrics` alone."""

    access = READ_MONITORING

    @extend_schema(
        operation_id="metrics",
        responses={
            (200, "text/plain"): OpenApiTypes.STR,
            (200, "application/openmetrics-text"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> HttpResponse:
        body, content_type = expose(request.headers.get("Accept", ""))
        return HttpResponse(
            body, headers={"Content-Type": content_type, "Cache-Control": "no-store"}
        )

    def perform_content_negotiation(self, request: Request, force: bool = False) -> Any:
        """Whatever is accepted: the exposition looks at the header itself."""
        return super().perform_content_negotiation(request, force=True)
