"""One family of errors, one envelope: code raises `AppError`, this module renders it.

`{"success": false, "error": {"code", "message", "details"}, "request_id", "timestamp"}`
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponseBase, JsonResponse
from rest_framework import exceptions
from rest_framework.response import Response

from llamagpu.http.refusals import report_call, report_denied, report_throttled
from llamagpu.lib.error_codes import ErrorCode

logger = logging.getLogger(__name__)

#: Characters of a field's name, and of what is said of it.
_MOST_QUOTED = 500
#: More of them are one and the same mistake.
_MOST_PROBLEMS = 50

AnyResponse = TypeVar("AnyResponse", bound=HttpResponseBase)

_DRF_CODES: tuple[tuple[type[Exception], ErrorCode], ...] = (
    (exceptions.NotAuthenticated, ErrorCode.AUTHENTICATION_FAILED),
    (exceptions.AuthenticationFailed, ErrorCode.AUTHENTICATION_FAILED),
    (exceptions.PermissionDenied, ErrorCode.PERMISSION_DENIED),
    (PermissionDenied, ErrorCode.PERMISSION_DENIED),
    (exceptions.NotFound, ErrorCode.NOT_FOUND),
    (Http404, ErrorCode.NOT_FOUND),
    (exceptions.MethodNotAllowed, ErrorCode.METHOD_NOT_ALLOWED),
    (exceptions.NotAcceptable, ErrorCode.NOT_ACCEPTABLE),
    (exceptions.UnsupportedMediaType, ErrorCode.UNSUPPORTED_MEDIA_TYPE),
    (exceptions.ParseError, ErrorCode.INVALID_INPUT),
    (exceptions.Throttled, ErrorCode.RATE_LIMIT_EXCEEDED),
    (RequestDataTooBig, ErrorCode.CONTENT_TOO_LARGE),
    (SuspiciousOperation, ErrorCode.INVALID_INPUT),
)


class AppError(Exception):
    """An error that a caller may see. `details` is JSON-ready; `retry_after` is in seconds."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        details: Any = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = _encodable(message)
        self.details = details
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def error_body(
    request_id: str, code: ErrorCode, message: str, details: Any = None
) -> dict[str, Any]:
    """The envelope as JSON-ready values."""
    return {
        "success": False,
        "error": {"code": str(code), "message": message, "details": details},
        "request_id": request_id,
        "timestamp": datetime.now(tz=UTC).isoformat(),
    }


def error_response(request: HttpRequest, error: AppError) -> JsonResponse:
    """The envelope as an answer, for code outside a REST view."""
    note_error(request, error)
    body = error_body(request_id_of(request), error.code, error.message, error.details)
    return without_log(JsonResponse(body, status=error.code.http_status, headers=error.headers))


def without_log(response: AnyResponse) -> AnyResponse:
    """Keeps Django from logging an answer that is as it should be, e.g. a 503 of a probe."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response


def note_error(request: Any, error: AppError) -> None:
    """Keep what `request` is told, for those who count answers (`error_of`)."""
    getattr(request, "_request", request).app_error = error


def error_of(request: HttpRequest) -> AppError | None:
    """The error that this request was answered with, where it was one of ours."""
    return getattr(request, "app_error", None)


def request_id_of(request: Any) -> str:
    """The id that the middleware gave to this request."""
    return str(getattr(request, "request_id", ""))


def render_exception(exc: Exception, context: Mapping[str, Any]) -> Response:
    """REST framework's exception handler: every exception becomes the envelope."""
    error, headers = explain(exc, context)
    body = error_body(request_id_of(context["request"]), error.code, error.message, error.details)
    return without_log(Response(body, status=error.code.http_status, headers=headers))


def explain(exc: Exception, context: Mapping[str, Any]) -> tuple[AppError, dict[str, str]]:
    """What a view's exception tells the caller, and the headers that go with it.

    An unforeseen one is logged with its traceback and shows the caller its request id alone.
    Refusals are reported to who listens for them.
    """
    error = as_app_error(exc)
    if error is None:
        logger.error("unhandled exception in a view", exc_info=exc)
        error = internal_error()
    if error.code is ErrorCode.PERMISSION_DENIED:
        report_denied(context["request"], context.get("view"), error.message)
    elif error.code is ErrorCode.RATE_LIMIT_EXCEEDED:
        report_throttled(context["request"], error.message)
    report_call(context["request"], context.get("view"), error)
    note_error(context["request"], error)
    headers = error.headers
    challenge = getattr(exc, "auth_header", None)
    if challenge:
        headers["WWW-Authenticate"] = str(challenge)
    wait = getattr(exc, "wait", None)
    if wait:
        headers["Retry-After"] = str(int(wait) + 1)
    return error, headers


def internal_error() -> AppError:
    return AppError(
        ErrorCode.INTERNAL_ERROR,
        "The server met an unexpected condition; the request id finds it in the log.",
    )


def as_app_error(exc: Exception) -> AppError | None:
    """The `AppError` that says what `exc` means, or None for one that nobody foresaw."""
    if isinstance(exc, AppError):
        return exc
    if isinstance(exc, exceptions.ValidationError):
        return _validation_error(exc)
    if isinstance(exc, OperationalError | InterfaceError):
        logger.error("the database does not answer: %s", exc)
        return AppError(
            ErrorCode.BACKEND_UNAVAILABLE, "The database does not answer.", retry_after=5
        )
    for cls, code in _DRF_CODES:
        if isinstance(exc, cls):
            return AppError(code, _message_of(exc, code))
    return None


def _message_of(exc: Exception, code: ErrorCode) -> str:
    if code is ErrorCode.CONTENT_TOO_LARGE:
        return "The request body is larger than this server accepts."
    detail = getattr(exc, "detail", None)
    if detail is None and code is ErrorCode.NOT_FOUND:
        return "There is nothing at this address."
    return str(detail if detail is not None else exc) or str(code)


def _validation_error(exc: exceptions.ValidationError) -> AppError:
    problems = list(itertools.islice(_problems("", exc.detail), _MOST_PROBLEMS))
    first = problems[0]
    message = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return AppError(ErrorCode.INVALID_INPUT, message, details=problems)


def _problems(path: str, detail: Any) -> list[dict[str, str]]:
    """The nested detail of a validation error as a flat list of {field, message}."""
    if isinstance(detail, Mapping):
        found: list[dict[str, str]] = []
        for key, value in detail.items():
            inner = path if key == "non_field_errors" else _join(path, str(key))
            found += _problems(inner, value)
        return found
    if isinstance(detail, list):
        found = []
        for index, value in enumerate(detail):
            nested = isinstance(value, Mapping | list)
            found += _problems(f"{path}[{index}]" if nested else path, value)
        return found
    return [{"field": _quoted(path), "message": _quoted(str(detail))}]


def _join(path: str, key: str) -> str:
    if re.fullmatch(r"\d+", key):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def _quoted(text: str) -> str:
    """What may repeat the caller's own words, cut where it would only give them back."""
    cut = text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}..."
    return _encodable(cut)


def _encodable(text: str) -> str:
    """With unpaired surrogates, which JSON may bring and UTF-8 cannot carry, spelt out."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
