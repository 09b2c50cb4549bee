"""Upload of plugins over HTTP, for Admins."""

from __future__ import annotations

from typing import Any

from django.http import QueryDict
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response

from llamagpu.http.permissions import WRITE_PLUGINS
from plugins_app.api.answer_schemas import PLUGIN
from plugins_app.api.operation import PluginOperationView, check_may_bring_code
from plugins_app.api.serializers import UploadSerializer
from plugins_app.description import describe_plugins
from plugins_app.services.uploads import MAX_ARCHIVE, upload_plugin


class PluginUploadView(PluginOperationView):
    """POST /api/plugins/upload: 201 with the plugin, disabled."""

    access = WRITE_PLUGINS
    parser_classes = [MultiPartParser]

    @extend_schema(
        operation_id="upload_plugin",
        request={"multipart/form-data": UploadSerializer},
        responses={201: PLUGIN},
    )
    def post(self, request: Request) -> Response:
        body = UploadSerializer(data=_form(request))
        body.is_valid(raise_exception=True)
        check_may_bring_code(request)
        content = body.validated_data["file"].read(MAX_ARCHIVE + 1)
        row = upload_plugin(
            actor=request.user,
            content=content,
            replace=body.validated_data.get("replace", False),
        )
        (plugin,) = describe_plugins([row], with_settings=True)
        response = Response({"success": True, "plugin": plugin}, status=201)
        response["Location"] = f"{request.path.rpartition('/')[0]}/{row.slug}"
        return response


def _form(request: Request) -> dict[str, Any]:
    """Each field once. Raises ValidationError."""
    fields: dict[str, Any] = {}
    form = request.data
    if not isinstance(form, QueryDict):
        return fields  # without any body there is no form either
    for name, values in form.lists():
        if len(values) > 1:
            raise ValidationError({name: ["Is there twice."]})
        fields[name] = values[0]
    return fields
