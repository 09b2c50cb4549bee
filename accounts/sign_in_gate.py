"""How often somebody may try to sign in, right or wrong. Closed while nothing can be counted.

django-axes counts failures, but only after a password was checked: many tries at the same moment
would pass it together. These counters are raised before.
"""

from __future__ import annotations

import hashlib

import redis
from django.conf import settings
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from llamagpu.http.errors import AppError
from llamagpu.http.origin import peer_address, subscriber_of
from llamagpu.lib.error_codes import ErrorCode

_MINUTE = 60
#: Tries a minute and address, whoever is tried.
PER_ADDRESS = 30
_RETRY_AFTER = 5


def admit(request: HttpRequest, username: str = "") -> None:
    """Counts one try of `username` from this address.

    Raises AppError RATE_LIMIT_EXCEEDED, or BACKEND_UNAVAILABLE while Redis is away.
    """
    peer = subscriber_of(peer_address(request))
    counters = [(f"peer:{peer}", PER_ADDRESS)]
    if username:
        digest = hashlib.sha256(f"{username}\n{peer}".encode()).hexdigest()
        counters.append((f"name:{digest}", 2 * settings.SIGN_IN.attempts))
    try:
        waits = [_count(request, name, limit) for name, limit in counters]
    except redis.RedisError as error:
        raise AppError(
            ErrorCode.BACKEND_UNAVAILABLE,
            "Signing in is closed while the server cannot count attempts: try again soon. "
            "API keys go on working.",
            retry_after=_RETRY_AFTER,
        ) from error
    wait = max(waits)
    if wait:
        raise AppError(
            ErrorCode.RATE_LIMIT_EXCEEDED,
            f"Too many attempts to sign in: try again in {wait} seconds.",
            retry_after=wait,
        )


def _count(request: HttpRequest, name: str, limit: int) -> int:
    """Seconds to wait, 0 where the try may go on. Raises RedisError."""
    usage = get_usage(
        request,
        group="sign-in",
        key=lambda group, request: name,
        rate=(limit, _MINUTE),
        increment=True,
    )
    if usage is None:
        raise redis.ResponseError("the counter was removed meanwhile")
    return max(1, usage["time_left"] + 1) if usage["should_limit"] else 0
