"""The stable error codes of the API contract, shared by web, worker and engine (stdlib only)."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """A code never changes its meaning or its HTTP status once released."""

    INVALID_INPUT = "INVALID_INPUT"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    AUTHENTICATION_FAILED = "AUTHENTICATION_FAILED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    NOT_FOUND = "NOT_FOUND"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    JOB_NOT_FOUND = "JOB_NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    CONFLICT = "CONFLICT"
    CONTENT_TOO_LARGE = "CONTENT_TOO_LARGE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    QUEUE_FULL = "QUEUE_FULL"
    CANCELLED = "CANCELLED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    MODEL_LOAD_FAILED = "MODEL_LOAD_FAILED"
    INFERENCE_FAILED = "INFERENCE_FAILED"
    INSUFFICIENT_MEMORY = "INSUFFICIENT_MEMORY"
    BACKEND_UNAVAILABLE = "BACKEND_UNAVAILABLE"
    NO_WORKER = "NO_WORKER"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"

    @property
    def http_status(self) -> int:
        """The HTTP status that carries this code."""
        return _HTTP_STATUS[self]


_HTTP_STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_INPUT: 400,
    ErrorCode.CONTEXT_LENGTH_EXCEEDED: 400,
    ErrorCode.AUTHENTICATION_FAILED: 401,
    ErrorCode.PERMISSION_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.MODEL_NOT_FOUND: 404,
    ErrorCode.JOB_NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.NOT_ACCEPTABLE: 406,
    ErrorCode.CONFLICT: 409,
    ErrorCode.CONTENT_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.RATE_LIMIT_EXCEEDED: 429,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.QUEUE_FULL: 429,
    # The caller asked for the end, so nobody waits for this answer; 499 is the proxies' custom.
    ErrorCode.CANCELLED: 499,
    ErrorCode.INTERNAL_ERROR: 500,
    ErrorCode.MODEL_LOAD_FAILED: 500,
    ErrorCode.INFERENCE_FAILED: 500,
    ErrorCode.INSUFFICIENT_MEMORY: 503,
    ErrorCode.BACKEND_UNAVAILABLE: 503,
    ErrorCode.NO_WORKER: 503,
    ErrorCode.DEADLINE_EXCEEDED: 504,
}
