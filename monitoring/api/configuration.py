"""Edge of the system configuration: `/api/system/config`."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ParseError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from llamagpu.http.permissions import READ_SYSTEM, WRITE_SYSTEM
from llamagpu.http.schema_words import call_example
from monitoring.api.answer_schemas import CHANGED_SETTINGS, CHANGES, SETTINGS
from monitoring.configuration_listing import list_settings
from monitoring.services.configuration import change_configuration


class ConfigurationView(APIView):
    """GET and PATCH /api/system/config"""

    access = {"GET": READ_SYSTEM, "PATCH": WRITE_SYSTEM}

    @extend_schema(operation_id="read_configuration", responses=SETTINGS)
    def get(self, request: Request) -> Response:
        return Response({"success": True, "settings": list_settings()})

    @extend_schema(
        operation_id="change_configuration",
        request={"application/json": CHANGES},
        responses=CHANGED_SETTINGS,
        examples=[call_example({"rate_inference": 60, "keep_alive": 600})],
    )
    def patch(self, request: Request) -> Response:
        """`{name: value}`; null goes back to the default. All of it is taken or nothing."""
        if not isinstance(request.data, dict) or not request.data:
            raise ParseError("The body must be a JSON object that names at least one setting.")
        changed = change_configuration(actor=request.user, changes=request.data)
        return Response({"success": True, "changed": changed, "settings": list_settings()})
