"""Edges of alerts: what fires and has fired, how the evaluation stands, acknowledging."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.db.models import Count
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import READ_MONITORING, WRITE_MONITORING
from monitoring.alerts.report import EvaluationReport
from monitoring.alerts.values import watchables
from monitoring.alerts.watch import read_report
from monitoring.api.alert_schemas import ALERT, ALERTS, METRICS, STATUS
from monitoring.api.alert_serializers import AcknowledgeSerializer, AlertFilters, NoAlertFilters
from monitoring.health import ProbeFailedError
from monitoring.models import Alert
from monitoring.services.alerts import acknowledge, describe_alert


class AlertsView(APIView):
    """GET /api/alerts"""

    access = READ_MONITORING

    @extend_schema(
        operation_id="list_alerts", parameters=[AlertFilters, *PAGE_SCHEMA], responses=ALERTS
    )
    def get(self, request: Request) -> Response:
        """What fires and what has fired, newest first."""
        rows = Alert.objects.matching(read_filters(request, AlertFilters))
        return page_response(request, rows, describe_alert)


class AlertView(APIView):
    """GET /api/alerts/{id}"""

    access = READ_MONITORING

    @extend_schema(operation_id="read_alert", responses=ALERT)
    def get(self, request: Request, pk: int) -> Response:
        return Response({"success": True, "alert": describe_alert(_find(pk))})


class AcknowledgeView(APIView):
    """POST /api/alerts/{id}/acknowledge"""

    access = WRITE_MONITORING

    @extend_schema(operation_id="acknowledge_alert", request=AcknowledgeSerializer, responses=ALERT)
    def post(self, request: Request, pk: int) -> Response:
        """Says that somebody sees to it: it is not sent any more where it was not yet."""
        alert = _find(pk)
        body = AcknowledgeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        alert = acknowledge(actor=request.user, alert=alert, **body.validated_data)
        return Response({"success": True, "alert": describe_alert(alert)})


class EvaluationView(APIView):
    """GET /api/alerts/status"""

    access = READ_MONITORING

    @extend_schema(operation_id="alert_status", responses=STATUS)
    def get(self, request: Request) -> Response:
        """Whether rules are evaluated, what fires, and what holds but not yet for long enough."""
        read_filters(request, NoAlertFilters, has_pages=False)
        return Response({"success": True, **evaluation()})


class WatchablesView(APIView):
    """GET /api/alerts/metrics"""

    access = READ_MONITORING

    @extend_schema(operation_id="list_alert_metrics", responses=METRICS)
    def get(self, request: Request) -> Response:
        """Everything that a rule can watch."""
        read_filters(request, NoAlertFilters, has_pages=False)
        metrics = [asdict(one) | {"kind": one.kind.value} for one in watchables().values()]
        return Response({"success": True, "metrics": metrics})


def evaluation() -> dict[str, Any]:
    """How the evaluation stands, for API and page."""
    try:
        report = read_report()
        paused = "no monitor evaluates the rules" if report is None else report.paused
    except ProbeFailedError as error:
        report, paused = None, str(error)
    told = report or EvaluationReport(unix=0.0)
    firing = Alert.objects.firing().order_by().values_list("severity").annotate(num=Count("id"))
    return {
        "evaluated_at": datetime.fromtimestamp(told.unix, UTC).isoformat() if told.unix else None,
        "paused": paused or None,
        "rules": told.num_rules,
        "firing": dict(firing),
        "pending": [asdict(one) for one in told.pending],
        "problems": told.problems,
        "suppressed": told.suppressed,
    }


def _find(pk: int) -> Alert:
    alert = Alert.objects.filter(pk=pk).first()
    if alert is None:
        raise NotFound("There is no such alert.")
    return alert
