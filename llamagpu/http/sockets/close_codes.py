"""Why the server closes a socket, as the number that its client reads."""

from __future__ import annotations

from enum import IntEnum

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode


class CloseCode(IntEnum):
    """Standard codes, and from 4400 on those of the HTTP statuses that mean the same."""

    GOING_AWAY = 1001
    TOO_BIG = 1009
    BROKEN = 1011
    OVERLOADED = 1013
    NOT_AUTHENTICATED = 4401
    NOT_ALLOWED = 4403
    IDLE = 4408
    TOO_FAST = 4429


_BY_ERROR = {
    ErrorCode.AUTHENTICATION_FAILED: CloseCode.NOT_AUTHENTICATED,
    ErrorCode.PERMISSION_DENIED: CloseCode.NOT_ALLOWED,
    ErrorCode.RATE_LIMIT_EXCEEDED: CloseCode.TOO_FAST,
    ErrorCode.CONTENT_TOO_LARGE: CloseCode.TOO_BIG,
    ErrorCode.BACKEND_UNAVAILABLE: CloseCode.OVERLOADED,
}


def close_code_of(error: AppError) -> CloseCode:
    """The code of a socket that `error` ends."""
    return _BY_ERROR.get(error.code, CloseCode.BROKEN)
