"""Edges of monitoring: probes for machines, status for people and programs."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.errors import without_log
from llamagpu.http.permissions import READ_MONITORING, Public, declare_access
from monitoring.api.answer_schemas import STATUS
from monitoring.health import check_health
from monitoring.snapshot import take_snapshot


class SystemStatusView(APIView):
    """GET /api/system/status"""

    access = READ_MONITORING

    @extend_schema(operation_id="system_status", responses=STATUS)
    def get(self, request: Request) -> Response:
        return Response(take_snapshot())


@declare_access(Public("Orchestrators ask without credentials; the answer says only that we live."))
@require_safe
def livez(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "alive"})


@declare_access(Public("Orchestrators ask without credentials; reasons name components, not data."))
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    probes = check_health()
    ready = all(probe.healthy for probe in probes)
    body = {
        "status": "ready" if ready else "not ready",
        "probes": [asdict(probe) for probe in probes],
        "reasons": [f"{probe.name}: {probe.detail}" for probe in probes if not probe.healthy],
    }
    return without_log(JsonResponse(body, status=200 if ready else 503))
