"""Plugins over HTTP: which there are, which of them run, and in which order."""

from __future__ import annotations

from dataclasses import asdict

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from llamagpu.http.database import release_connections
from llamagpu.http.errors import AppError
from llamagpu.http.filters import read_filters
from llamagpu.http.permissions import READ_PLUGINS, WRITE_PLUGINS
from llamagpu.lib.error_codes import ErrorCode
from plugins_app.api.answer_schemas import PLUGIN, PLUGINS, SCANNED, TRIED, UNDER_WAY, WHOLE_PLUGIN
from plugins_app.api.operation import PluginOperationView, check_may_bring_code
from plugins_app.api.serializers import (
    ApprovalSerializer,
    ChangePluginSerializer,
    OrderSerializer,
    PluginFilters,
    TrySerializer,
)
from plugins_app.description import describe, describe_health, describe_plugins
from plugins_app.models import Plugin
from plugins_app.querysets import sees_settings
from plugins_app.services.approval import approve_plugin
from plugins_app.services.arrangement import change_plugin, order_plugins
from plugins_app.services.lifecycle import disable_plugin, enable_plugin, reload_plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.services.trial import try_plugin
from plugins_app.services.uploads import delete_plugin
from plugins_app.standing import Standing, await_gone, await_taken_up
from plugins_app.states import PluginState

#: Seconds that a caller waits for the workers' word.
PATIENCE = 5.0


class PluginsView(PluginOperationView):
    """GET /api/plugins"""

    access = {"GET": READ_PLUGINS}

    @extend_schema(operation_id="list_plugins", parameters=[PluginFilters], responses=PLUGINS)
    def get(self, request: Request) -> Response:
        filters = read_filters(request, PluginFilters)
        state = filters.pop("state", None)
        rows = Plugin.objects.visible_to(request.user).select_related("approved_by")
        described = [
            plugin
            for plugin in describe_plugins(
                rows.filter(**filters), with_settings=sees_settings(request.user, request.auth)
            )
            if state in (None, plugin["state"])
        ]
        return Response({"success": True, "count": len(described), "plugins": described})


class PluginScanView(PluginOperationView):
    """POST /api/plugins/scan: looks for plugins anew, in all folders and packages."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="scan_plugins", request=None, responses=SCANNED)
    def post(self, request: Request) -> Response:
        return Response({"success": True, **asdict(scan_plugins(actor=request.user))})


class PluginOrderView(PluginOperationView):
    """PUT /api/plugins/order: in which order those of a hook run."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="order_plugins", request=OrderSerializer, responses=PLUGINS)
    def put(self, request: Request) -> Response:
        body = OrderSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        rows = order_plugins(actor=request.user, slugs=body.validated_data["plugins"])
        described = describe_plugins(rows, with_settings=True)
        return Response({"success": True, "count": len(described), "plugins": described})


class PluginView(PluginOperationView):
    """GET, PATCH, DELETE /api/plugins/{id}"""

    access = {"GET": READ_PLUGINS, "PATCH": WRITE_PLUGINS, "DELETE": WRITE_PLUGINS}

    @extend_schema(operation_id="read_plugin", responses=WHOLE_PLUGIN)
    def get(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        (plugin,) = describe_plugins([row], with_settings=sees_settings(request.user, request.auth))
        return Response({"success": True, "plugin": plugin | {"health": describe_health(slug)}})

    @extend_schema(operation_id="change_plugin", request=ChangePluginSerializer, responses=PLUGIN)
    def patch(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        body = ChangePluginSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = change_plugin(actor=request.user, plugin=row, changes=body.changes)
        (plugin,) = describe_plugins([row], with_settings=True)
        return Response({"success": True, "plugin": plugin})

    @extend_schema(operation_id="delete_plugin", responses={204: None})
    def delete(self, request: Request, slug: str) -> Response:
        """Of one that was uploaded, with its files."""
        row = find_plugin(request, slug)
        check_may_bring_code(request)
        delete_plugin(actor=request.user, plugin=row)
        return Response(status=204)


class PluginApproveView(PluginOperationView):
    """POST /api/plugins/{id}/approve: its files, as they are now, may run."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="approve_plugin", request=ApprovalSerializer, responses=PLUGIN)
    def post(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        body = ApprovalSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = approve_plugin(actor=request.user, plugin=row, sha256=body.validated_data["sha256"])
        (plugin,) = describe_plugins([row], with_settings=True)
        return Response({"success": True, "plugin": plugin})


class PluginLoadView(PluginOperationView):
    """POST /api/plugins/{id}/load: 200 when every worker runs it, 202 where none has said so."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="load_plugin", request=None, responses=UNDER_WAY)
    def post(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        (before,) = describe_plugins([row], with_settings=False)
        row = enable_plugin(actor=request.user, plugin=row)
        if (
            before["state"] == PluginState.DEGRADED
        ):  # somebody has mended it, or wants it tried again
            row = reload_plugin(actor=request.user, plugin=row)
        return taken_up(row)


class PluginReloadView(PluginOperationView):
    """POST /api/plugins/{id}/reload: a new instance takes the place of the one that runs."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="reload_plugin", request=None, responses=UNDER_WAY)
    def post(self, request: Request, slug: str) -> Response:
        return taken_up(reload_plugin(actor=request.user, plugin=find_plugin(request, slug)))


class PluginUnloadView(PluginOperationView):
    """POST or DELETE /api/plugins/{id}/unload: 200 when no worker runs it, 202 while one does."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="unload_plugin", request=None, responses=UNDER_WAY)
    def post(self, request: Request, slug: str) -> Response:
        return self._unload(request, slug)

    @extend_schema(operation_id="unload_plugin_by_delete", request=None, responses=UNDER_WAY)
    def delete(self, request: Request, slug: str) -> Response:
        return self._unload(request, slug)

    def _unload(self, request: Request, slug: str) -> Response:
        row = disable_plugin(actor=request.user, plugin=find_plugin(request, slug))
        release_connections()
        is_gone = await_gone(row, patience=PATIENCE)
        (plugin,) = describe_plugins([row], with_settings=True)
        return Response({"success": True, "plugin": plugin}, status=200 if is_gone else 202)


class PluginTryView(PluginOperationView):
    """POST /api/plugins/{id}/try: a call on a sample, in a process that is made for it."""

    access = WRITE_PLUGINS

    @extend_schema(operation_id="try_plugin", request=TrySerializer, responses=TRIED)
    def post(self, request: Request, slug: str) -> Response:
        row = find_plugin(request, slug)
        body = TrySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        trial = try_plugin(actor=request.user, plugin=row, **body.validated_data)
        return Response({"success": True, **asdict(trial)})


def find_plugin(request: Request, slug: str) -> Plugin:
    """Raises AppError PLUGIN_NOT_FOUND."""
    rows = Plugin.objects.visible_to(request.user).select_related("approved_by")
    row = rows.filter(slug=slug).first()
    if row is None:
        raise AppError(ErrorCode.PLUGIN_NOT_FOUND, f"There is no plugin '{slug}'.")
    return row


def taken_up(row: Plugin) -> Response:
    """Raises AppError PLUGIN_LOAD_FAILED with the plugin's reason, where a worker has one."""
    release_connections()
    standing, is_done = await_taken_up(row, patience=PATIENCE)
    if reason := _failure(row, standing):
        raise AppError(ErrorCode.PLUGIN_LOAD_FAILED, f"'{row.slug}' could not be loaded: {reason}")
    plugin = describe(row, standing, with_settings=True)
    return Response({"success": True, "plugin": plugin}, status=200 if is_done else 202)


def _failure(row: Plugin, standing: Standing) -> str:
    words = [word for word in standing.workers if word.has_taken_up(row)]
    return next((word.error for word in words if word.error), "")
