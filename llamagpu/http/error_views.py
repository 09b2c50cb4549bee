"""Answers outside a REST view: the envelope for programs, a page for people."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext_noop

from llamagpu.http.errors import AppError, error_response, internal_error, request_id_of
from llamagpu.http.openai_errors import PREFIX, openai_response
from llamagpu.http.programs import is_for_programs
from llamagpu.http.refusals import report_denied
from llamagpu.lib.error_codes import ErrorCode


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer(
        request,
        AppError(ErrorCode.INVALID_INPUT, gettext_noop("The request cannot be understood.")),
    )


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    return answer(
        request,
        AppError(
            ErrorCode.PERMISSION_DENIED,
            gettext_noop(
                "The form's security token is missing or old: reload the page and send it again."
            ),
        ),
    )


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    error = AppError(ErrorCode.PERMISSION_DENIED, gettext_noop("Your role does not allow this."))
    report_denied(request, _view_of(request), error.message)
    return answer(request, error)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer(
        request, AppError(ErrorCode.NOT_FOUND, gettext_noop("There is nothing at this address."))
    )


def server_error(request: HttpRequest) -> HttpResponse:
    return answer(request, internal_error())


def _view_of(request: HttpRequest) -> Any:
    """The view that refused, its class where it has one: what declares the access."""
    callback = getattr(request.resolver_match, "func", None)
    return getattr(callback, "view_class", None) or callback


def answer(request: HttpRequest, error: AppError) -> HttpResponse:
    """`error` as the envelope for programs, as a page for people; with its headers."""
    if request.path.startswith(PREFIX):
        return openai_response(request, error)
    if is_for_programs(request.path) or not request.accepts("text/html"):
        return error_response(request, error)
    status = error.code.http_status
    context: dict[str, Any] = {
        "status": status,
        "message": error.message,
        "request_id": request_id_of(request),
    }
    response = render(request, "llamagpu/error.html", context, status=status)
    for name, value in error.headers.items():
        response.headers[name] = value
    return response
