"""Who was refused, and by which rule."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase

from llamagpu.http.errors import error_of
from llamagpu.http.request_context import add_answer_listener
from llamagpu.lib.error_codes import ErrorCode
from monitoring.metrics import Counter, Gauge

LIMIT_REFUSALS = Counter(
    "limit_refusals_total",
    "Calls refused for a rate or a quota, by the limit and whose it is.",
    ("limit", "subject"),
)
FAILED_SIGN_INS = Counter(
    "auth_failures_total",
    "Refused keys and failed steps of signing in.",
    ("method",),
)
LIVE_SOCKETS = Gauge("live_sockets", "Sockets that are open in web processes.")

_LIMITS = {ErrorCode.RATE_LIMIT_EXCEEDED, ErrorCode.QUOTA_EXCEEDED}


def register() -> None:
    add_answer_listener(note_answer)


def note_answer(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    error = error_of(request)
    if error is None or error.code not in _LIMITS or not isinstance(error.details, dict):
        return
    LIMIT_REFUSALS.inc(
        limit=error.details.get("limit", "other"), subject=error.details.get("subject", "other")
    )
