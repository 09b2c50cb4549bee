"""What all calls about plugins share: to look is a query, to change something a plugin operation."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.views import APIView

from llamagpu.http.errors import AppError
from llamagpu.http.permissions import WRITE_SYSTEM, LimitGroup, allows
from llamagpu.lib.error_codes import ErrorCode


class PluginOperationView(APIView):
    @property
    def limit_group(self) -> LimitGroup:
        return LimitGroup.SYSTEM if self.request.method == "GET" else LimitGroup.PLUGINS


def check_may_bring_code(request: Request) -> None:
    """To bring code to the server, or take it away, needs more than a key for plugins.

    Raises AppError PERMISSION_DENIED.
    """
    if not allows(WRITE_SYSTEM, request.user, request.auth):
        raise AppError(
            ErrorCode.PERMISSION_DENIED,
            "Only Admins upload and delete plugins; a key needs the scope admin for it.",
        )
