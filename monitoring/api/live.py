"""What a client of Socket.IO is told that asks over plain HTTP."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from llamagpu.http.errors import AppError, error_response
from llamagpu.http.permissions import Public, declare_access
from llamagpu.lib.error_codes import ErrorCode


@declare_access(
    Public("Says only how to connect; whoever connects is asked for a key or a session.")
)
@require_safe
def socketio_polling(request: HttpRequest) -> JsonResponse:
    message = "Only the WebSocket transport is served: connect with transports: ['websocket']."
    return error_response(request, AppError(ErrorCode.INVALID_INPUT, message))
