"""Edges of channels, where alerts are sent, and of what was sent: for who manages them alone."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.filters import read_filters
from llamagpu.http.pagination import PAGE_SCHEMA, page_response
from llamagpu.http.permissions import WRITE_MONITORING
from monitoring.alert_shapes import shape_channel, shape_delivery
from monitoring.api.alert_schemas import CHANNEL, CHANNELS, DELIVERIES, DELIVERY, NEW_CHANNEL
from monitoring.api.alert_serializers import (
    ChannelChangeSerializer,
    DeliveryFilters,
    NewChannelSerializer,
    NoAlertFilters,
)
from monitoring.models import AlertChannel, AlertDelivery
from monitoring.services.alert_channels import (
    change_channel,
    create_channel,
    delete_channel,
    send_test,
)


class ChannelsView(APIView):
    """GET and POST /api/alerts/channels"""

    access = WRITE_MONITORING

    @extend_schema(operation_id="list_alert_channels", parameters=PAGE_SCHEMA, responses=CHANNELS)
    def get(self, request: Request) -> Response:
        read_filters(request, NoAlertFilters)
        rows = AlertChannel.objects.visible_to(request.user)
        return page_response(request, rows, shape_channel, ordering=["id"])

    @extend_schema(
        operation_id="create_alert_channel",
        request=NewChannelSerializer,
        responses={201: NEW_CHANNEL},
    )
    def post(self, request: Request) -> Response:
        body = NewChannelSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values: dict[str, Any] = dict(body.validated_data)
        channel, made = create_channel(actor=request.user, kind=values.pop("kind"), values=values)
        shown = {"success": True, "channel": shape_channel(channel), "secret": made}
        return Response(shown, status=201)


class ChannelView(APIView):
    """GET, PATCH and DELETE /api/alerts/channels/{id}"""

    access = WRITE_MONITORING

    @extend_schema(operation_id="read_alert_channel", responses=CHANNEL)
    def get(self, request: Request, pk: int) -> Response:
        return Response({"success": True, "channel": shape_channel(_find(request, pk))})

    @extend_schema(
        operation_id="change_alert_channel", request=ChannelChangeSerializer, responses=CHANNEL
    )
    def patch(self, request: Request, pk: int) -> Response:
        channel = _find(request, pk)
        body = ChannelChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        channel = change_channel(actor=request.user, channel=channel, changes=body.validated_data)
        return Response({"success": True, "channel": shape_channel(channel)})

    @extend_schema(operation_id="delete_alert_channel", responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        delete_channel(actor=request.user, channel=_find(request, pk))
        return Response(status=204)


class ChannelTestView(APIView):
    """POST /api/alerts/channels/{id}/test"""

    access = WRITE_MONITORING

    @extend_schema(operation_id="test_alert_channel", request=None, responses={202: DELIVERY})
    def post(self, request: Request, pk: int) -> Response:
        """Has the monitor send a test; the list of deliveries says how it went."""
        delivery = send_test(actor=request.user, channel=_find(request, pk))
        return Response({"success": True, "delivery": shape_delivery(delivery)}, status=202)


class DeliveriesView(APIView):
    """GET /api/alerts/deliveries"""

    access = WRITE_MONITORING

    @extend_schema(
        operation_id="list_alert_deliveries",
        parameters=[DeliveryFilters, *PAGE_SCHEMA],
        responses=DELIVERIES,
    )
    def get(self, request: Request) -> Response:
        filters = read_filters(request, DeliveryFilters)
        names = {"state": "state", "channel": "channel_id", "alert": "alert_id"}
        rows = AlertDelivery.objects.visible_to(request.user).select_related("channel")
        rows = rows.filter(**{names[name]: value for name, value in filters.items()})
        return page_response(request, rows, shape_delivery, ordering=["-created_at", "-id"])


def _find(request: Request, pk: int) -> AlertChannel:
    channel = AlertChannel.objects.visible_to(request.user).filter(pk=pk).first()
    if channel is None:
        raise NotFound("There is no such channel.")
    return channel
