"""Edges of monitoring: probes for machines, status for people and programs."""

from __future__ import annotations

from dataclasses import asdict

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.errors import without_log
from llamagpu.http.fields import StrictSerializer
from llamagpu.http.filters import read_filters
from llamagpu.http.permissions import INFER, READ_MONITORING, Public, allows, declare_access
from monitoring.api.system_schemas import GPUS, STATUS
from monitoring.health import check_deep, check_health
from monitoring.snapshot import read_gpus, take_snapshot


class StatusFilters(StrictSerializer):
    """`deep` has one token generated, which may take its time and counts as a request of the caller."""

    deep = serializers.BooleanField(required=False, default=False)


class SystemStatusView(APIView):
    """GET /api/system/status"""

    access = READ_MONITORING

    @extend_schema(
        operation_id="system_status",
        parameters=[StatusFilters],
        responses={200: STATUS, 503: STATUS},
    )
    def get(self, request: Request) -> Response:
        is_deep = read_filters(request, StatusFilters).get("deep", False)
        if is_deep and not allows(INFER, request.user, request.auth):
            raise PermissionDenied("deep: it takes the right to ask a model, too.")
        snapshot = take_snapshot()
        if not is_deep:
            return Response(snapshot)
        deep = check_deep(request)
        snapshot["deep"] = asdict(deep)
        return without_log(Response(snapshot, status=200 if deep.healthy else 503))


class GpuView(APIView):
    """GET /api/system/gpu"""

    access = READ_MONITORING

    @extend_schema(operation_id="system_gpu", responses=GPUS)
    def get(self, request: Request) -> Response:
        by_node = read_gpus()
        gpus = [{"node": node, **gpu} for node, (found, _) in by_node.items() for gpu in found]
        reasons = {node: reason for node, (_, reason) in by_node.items()}
        return Response({"success": True, "gpus": gpus, "reasons": reasons})


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
