"""Edges of alert rules and silences."""

from __future__ import annotations

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import READ_MONITORING, WRITE_MONITORING
from monitoring.alert_shapes import shape_rule, shape_silence
from monitoring.api.alert_schemas import RULE, RULES, SILENCE, SILENCES
from monitoring.api.alert_serializers import (
    NewRuleSerializer,
    NewSilenceSerializer,
    NoAlertFilters,
    RuleChangeSerializer,
    SilenceFilters,
)
from monitoring.models import AlertRule, AlertSilence
from monitoring.services.alert_rules import change_rule, create_rule, delete_rule
from monitoring.services.alert_silences import create_silence, end_silence
from monitoring.services.plain_text import invalid


class RulesView(APIView):
    """GET and POST /api/alerts/rules"""

    access = {"GET": READ_MONITORING, "POST": WRITE_MONITORING}

    @extend_schema(operation_id="list_alert_rules", parameters=PAGE_SCHEMA, responses=RULES)
    def get(self, request: Request) -> Response:
        read_filters(request, NoAlertFilters)
        return page_response(request, AlertRule.objects.all(), shape_rule, ordering=["id"])

    @extend_schema(
        operation_id="create_alert_rule", request=NewRuleSerializer, responses={201: RULE}
    )
    def post(self, request: Request) -> Response:
        body = NewRuleSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        rule = create_rule(actor=request.user, values=body.validated_data)
        return Response({"success": True, "rule": shape_rule(rule)}, status=201)


class RuleView(APIView):
    """GET, PATCH and DELETE /api/alerts/rules/{id}"""

    access = {"GET": READ_MONITORING, "PATCH": WRITE_MONITORING, "DELETE": WRITE_MONITORING}

    @extend_schema(operation_id="read_alert_rule", responses=RULE)
    def get(self, request: Request, pk: int) -> Response:
        return Response({"success": True, "rule": shape_rule(_rule(pk))})

    @extend_schema(operation_id="change_alert_rule", request=RuleChangeSerializer, responses=RULE)
    def patch(self, request: Request, pk: int) -> Response:
        rule = _rule(pk)
        body = RuleChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        rule = change_rule(actor=request.user, rule=rule, changes=body.validated_data)
        return Response({"success": True, "rule": shape_rule(rule)})

    @extend_schema(operation_id="delete_alert_rule", responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        delete_rule(actor=request.user, rule=_rule(pk))
        return Response(status=204)


class SilencesView(APIView):
    """GET and POST /api/alerts/silences"""

    access = {"GET": READ_MONITORING, "POST": WRITE_MONITORING}

    @extend_schema(
        operation_id="list_alert_silences",
        parameters=[SilenceFilters, *PAGE_SCHEMA],
        responses=SILENCES,
    )
    def get(self, request: Request) -> Response:
        rows = AlertSilence.objects.select_related("rule")
        if read_filters(request, SilenceFilters).get("active"):
            rows = rows.active(timezone.now())
        return page_response(request, rows, shape_silence)

    @extend_schema(
        operation_id="create_alert_silence", request=NewSilenceSerializer, responses={201: SILENCE}
    )
    def post(self, request: Request) -> Response:
        body = NewSilenceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = dict(body.validated_data)
        number = values.pop("rule", None)
        rule = AlertRule.objects.filter(pk=number).first() if number else None
        if number and rule is None:
            raise invalid("rule", "there is no such rule")
        silence = create_silence(actor=request.user, rule=rule, **values)
        return Response({"success": True, "silence": shape_silence(silence)}, status=201)


class SilenceView(APIView):
    """GET and DELETE /api/alerts/silences/{id}"""

    access = {"GET": READ_MONITORING, "DELETE": WRITE_MONITORING}

    @extend_schema(operation_id="read_alert_silence", responses=SILENCE)
    def get(self, request: Request, pk: int) -> Response:
        return Response({"success": True, "silence": shape_silence(_silence(pk))})

    @extend_schema(operation_id="end_alert_silence", responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Ends it now; it stays in the list."""
        end_silence(actor=request.user, silence=_silence(pk))
        return Response(status=204)


def _rule(pk: int) -> AlertRule:
    rule = AlertRule.objects.filter(pk=pk).first()
    if rule is None:
        raise NotFound("There is no such rule.")
    return rule


def _silence(pk: int) -> AlertSilence:
    silence = AlertSilence.objects.select_related("rule").filter(pk=pk).first()
    if silence is None:
        raise NotFound("There is no such silence.")
    return silence
