"""What the web processes answer, by door, address and kind of error."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseBase

from llamagpu.http.errors import error_of
from llamagpu.http.refusals import route_of
from llamagpu.http.request_context import add_answer_listener
from monitoring.metrics import Counter, Histogram

REQUESTS = Counter(
    "http_requests_total",
    "Answers by door, URL pattern, method and class of status.",
    ("door", "endpoint", "method", "status"),
    max_values=200,
)
SECONDS = Histogram(
    "http_request_duration_seconds",
    "From a request's arrival to the head of its answer: a stream's own length is not in it.",
    ("door",),
)
ERRORS = Counter("http_errors_total", "Answers that carry an error, by its code.", ("door", "code"))

_DOORS = (
    ("/api/", "api"), ("/v1/", "openai"), ("/ws/", "socket"),
    ("/static/", "static"), ("/admin/", "admin"),
)  # fmt: skip
_PROBES = {"/livez", "/readyz", "/metrics"}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


def register() -> None:
    add_answer_listener(note_answer)


def note_answer(request: HttpRequest, response: HttpResponseBase, seconds: float) -> None:
    door = door_of(request.path_info)
    REQUESTS.inc(
        door=door,
        # Django admin has more pages than all the rest.
        endpoint="admin" if door == "admin" else route_of(request) or "none",
        method=request.method if request.method in _METHODS else "other",
        status=f"{response.status_code // 100}xx",
    )
    SECONDS.observe(seconds, door=door)
    error = error_of(request)
    if error is not None:
        ERRORS.inc(door=door, code=error.code)


def door_of(path: str) -> str:
    """Which of the portal's entrances an address belongs to."""
    for prefix, door in _DOORS:
        if path.startswith(prefix):
            return door
    return "probe" if path in _PROBES else "pages"
