"""Errors as clients of OpenAI's API read them: what is answered for everything under `/v1/`.

`{"error": {"message", "type", "param", "code"}}`. The codes are ours in small letters, but for two
that such clients know by another name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, JsonResponse
from rest_framework.response import Response

from llamagpu.http.errors import AppError, explain, note_error, without_log
from llamagpu.lib.error_codes import ErrorCode

PREFIX = "/v1/"

_CODES = {
    ErrorCode.AUTHENTICATION_FAILED: "invalid_api_key",
    ErrorCode.QUOTA_EXCEEDED: "insufficient_quota",
}
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# Clients repeat 409, 429 and every 5xx by themselves. These would end as before, at the same cost.
_FINAL = {
    ErrorCode.CONFLICT,
    ErrorCode.QUOTA_EXCEEDED,
    ErrorCode.CANCELLED,
    ErrorCode.DEADLINE_EXCEEDED,
    ErrorCode.INFERENCE_FAILED,
    ErrorCode.INSUFFICIENT_MEMORY,
    ErrorCode.MODEL_LOAD_FAILED,
    ErrorCode.PLUGIN_LOAD_FAILED,
}
# A message that begins with the name of a field and a colon is about that field.
_NAMED = re.compile(r"([a-z][a-z0-9_]*(?:\[\d+\]|\.\w+)*): ")


def openai_error(error: AppError) -> dict[str, Any]:
    """The body of an error, also what a stream sends when it breaks off."""
    status = error.code.http_status
    return {
        "error": {
            "message": error.message,
            "type": "server_error"
            if status >= 500
            else _TYPES.get(status, "invalid_request_error"),
            "param": _param_of(error),
            "code": _CODES.get(error.code, str(error.code).lower()),
        }
    }


def openai_response(request: HttpRequest, error: AppError) -> JsonResponse:
    """An error as an answer, for code outside a REST view."""
    note_error(request, error)
    headers = error.headers | _advice(error, error.headers)
    response = JsonResponse(openai_error(error), status=error.code.http_status, headers=headers)
    return without_log(response)


def render_openai_exception(exc: Exception, context: Mapping[str, Any]) -> Response:
    """The exception handler of REST views under `/v1/`; `llamagpu.http.errors` has the other one."""
    error, headers = explain(exc, context)
    headers |= _advice(error, headers)
    return without_log(
        Response(openai_error(error), status=error.code.http_status, headers=headers)
    )


def _advice(error: AppError, headers: Mapping[str, str]) -> dict[str, str]:
    """What a client shall do that repeats failed calls; `headers` are those of the error."""
    if error.code in _FINAL:
        return {"x-should-retry": "false"}
    seconds = headers.get("Retry-After", "")
    return {"retry-after-ms": str(int(seconds) * 1000)} if seconds.isdecimal() else {}


def _param_of(error: AppError) -> str | None:
    """The field that an error is about, where it is about one."""
    if error.code is ErrorCode.MODEL_NOT_FOUND:
        return "model"
    details = error.details
    if isinstance(details, list) and details and isinstance(details[0], Mapping):
        return str(details[0].get("field", "")) or None
    if error.code.http_status in (400, 403) and (named := _NAMED.match(error.message)):
        return named[1]
    return str(details["param"]) if isinstance(details, Mapping) and "param" in details else None
