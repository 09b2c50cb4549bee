"""Settings of plugins over HTTP: set, looked back at, set back."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llamagpu.http.permissions import WRITE_PLUGINS
from plugins_app.api.answer_schemas import HISTORY, PLUGIN
from plugins_app.api.operation import PluginOperationView
from plugins_app.api.serializers import ConfigSerializer, RollbackSerializer
from plugins_app.api.views import find_plugin
from plugins_app.description import describe_change, describe_plugins
from plugins_app.models import Plugin, PluginSettings
from plugins_app.services.configuration import configure_plugin, roll_back_settings


class PluginConfigView(PluginOperationView):
    """GET, PUT /api/plugins/{id}/config"""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="read_plugin_config", responses=PLUGIN)
    def get(self, request: Request, slug: str) -> Response:
        return _described(find_plugin(request, slug))

    @extend_schema(operation_id="configure_plugin", request=ConfigSerializer, responses=PLUGIN)
    def put(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        body = ConfigSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        config = body.validated_data["config"]
        return _described(configure_plugin(actor=request.user, plugin=row, config=config))


class PluginConfigHistoryView(PluginOperationView):
    """GET /api/plugins/{id}/config/history: the newest first."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="list_plugin_config_changes", responses=HISTORY)
    def get(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        entries = PluginSettings.objects.visible_to(request.user).filter(plugin=row)
        changes = [describe_change(row, entry) for entry in entries.order_by("-number")]
        return Response({"success": True, "count": len(changes), "changes": changes})


class PluginConfigRollbackView(PluginOperationView):
    """POST /api/plugins/{id}/config/rollback: settings of before become those of now."""

    access = WRITE_PLUGINS

    @extend_schema(
        operation_id="roll_back_plugin_config", request=RollbackSerializer, responses=PLUGIN
    )
    def post(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        body = RollbackSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        number = body.validated_data["number"]
        return _described(roll_back_settings(actor=request.user, plugin=row, number=number))


def _described(row: Plugin) -> Response:
    (plugin,) = describe_plugins([row], with_settings=True)
    return Response({"success": True, "plugin": plugin})
