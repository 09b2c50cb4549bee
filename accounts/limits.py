"""Stage 2/7, its other half: how often a caller may call.

Requests are counted per user, so a second key gains nothing, and besides per key where the key has a
rate of its own. The counters live in Redis and are exact across threads, processes and machines.
Each caller's minute begins at a second of its own. The allowed number is no part of a counter's
name: changing a limit neither forgets nor forgives what was counted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import redis
from django.conf import settings
from django.core.cache import caches
from django_ratelimit.core import get_usage
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts.limit_policies import Limit, policies_of
from accounts.limit_subjects import SubjectKind
from accounts.models import UNLIMITED
from llamagpu.http.errors import AppError
from llamagpu.http.origin import peer_address, subscriber_of
from llamagpu.http.permissions import LimitGroup
from llamagpu.lib.error_codes import ErrorCode
from monitoring.configuration import current

logger = logging.getLogger(__name__)

MINUTE = 60
# Never reached: we compare the count ourselves, since get_usage puts this number into the name of
# the counter.
_COUNT_ALL = (10**15, MINUTE)
#: Seconds for which a process leaves a Redis that failed alone.
_PAUSE = 1.0
_RETRY_AFTER = 5

_NOUNS = {
    LimitGroup.INFERENCE: "inference requests",
    LimitGroup.BATCH: "batch requests",
    LimitGroup.PLUGINS: "plugin operations",
    LimitGroup.SYSTEM: "requests",
}
# Besides these, status and configuration stay within reach while Redis is away.
_CLOSABLE = {LimitGroup.INFERENCE, LimitGroup.BATCH, LimitGroup.PLUGINS}

_away_until = 0.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A counter: `name` in Redis, the limit it is held against, requests so far, seconds left."""

    name: str
    limit: Limit
    count: int
    time_left: int

    @property
    def remaining(self) -> int:
        return max(0, self.limit.value - self.count) if self.limit.is_finite else UNLIMITED

    @property
    def is_exceeded(self) -> bool:
        return self.limit.is_finite and self.count > self.limit.value


class CallerThrottle(BaseThrottle):
    """REST framework's throttle: refuses with 429, and says on every answer what is left.

    A view's `limit_group` chooses the rate. While Redis is away, LLAMA_LIMITS_WITHOUT_REDIS decides
    over inference, batches and plugin operations; other requests are served uncounted.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        """True, or AppError RATE_LIMIT_EXCEEDED or BACKEND_UNAVAILABLE."""
        group = LimitGroup(getattr(view, "limit_group", LimitGroup.SYSTEM))
        tightest = count_call(request._request, group, request.user, request.auth)
        if tightest is None:
            return True
        request._request.answer_headers.update(_headers(tightest))  # type: ignore[attr-defined]
        if tightest.is_exceeded:
            raise refusal_of(group, tightest)
        return True


def count_call(request: Any, group: LimitGroup, user: Any, key: Any) -> Rate | None:
    """The caller's tightest counter, this call counted in, for whoever calls; None while nobody counts.

    Raises AppError BACKEND_UNAVAILABLE where such calls are refused then.
    """
    try:
        return min(count_request(request, group, user, key), key=_tightness)
    except redis.RedisError as error:
        logger.warning("requests cannot be counted: %s", error)
        if group in _CLOSABLE and is_closed_without_redis():
            raise counting_unavailable() from error
        return None


def count_request(
    request: Any, group: LimitGroup, user: Any, key: Any, *, increment: bool = True
) -> Iterator[Rate]:
    """The caller's counters of `group`, this request counted in (or only looked at).

    Raises RedisError.
    """
    for name, limit in _limits(request, group, user, key):
        count, time_left = _count(request, group, name, increment=increment)
        yield Rate(name, limit, count, time_left)


def redis_counts() -> bool:
    """Whether limits can be counted now. Signing in is refused without: guesses go uncounted.

    Asks Redis, in well under a millisecond where it is well and within two seconds where it hangs.
    """
    try:
        _client().ping()
    except redis.RedisError:
        return False
    return True


def is_closed_without_redis() -> bool:
    """Whether what costs the most is refused while limits cannot be counted."""
    return current().limits_without_redis == "closed"


def counting_unavailable() -> AppError:
    message = (
        "The server cannot count requests at present, and is set to refuse them then "
        "(LLAMA_LIMITS_WITHOUT_REDIS)."
    )
    return AppError(ErrorCode.BACKEND_UNAVAILABLE, message, retry_after=_RETRY_AFTER)


def _limits(request: Any, group: LimitGroup, user: Any, key: Any) -> Iterator[tuple[str, Limit]]:
    limit_name = f"{group}_per_minute"
    if not user or not user.is_authenticated:
        # Open to everybody, such as the API's description: counted by address.
        value = getattr(current(), f"rate_{group}")
        limit = Limit(limit_name, SubjectKind.USER, value, "configuration")
        yield f"peer:{subscriber_of(peer_address(request))}", limit
        return
    key_id = key.pk if key is not None else None
    policies = policies_of(user_id=user.pk, role_id=user.role_id, key_id=key_id)
    for limit in policies.limits(limit_name):
        yield f"key:{key_id}" if limit.subject is SubjectKind.KEY else f"user:{user.pk}", limit


def _count(request: Any, group: LimitGroup, name: str, *, increment: bool) -> tuple[int, int]:
    """Requests of this minute and the seconds left of it. Raises RedisError."""
    global _away_until
    if time.monotonic() < _away_until:
        raise redis.ConnectionError("it did not answer a moment ago")
    for _ in range(2):
        try:
            usage = get_usage(
                request,
                group=str(group),
                key=lambda group, request: name,
                rate=_COUNT_ALL,
                increment=increment,
            )
        except redis.RedisError:
            _away_until = time.monotonic() + _PAUSE
            raise
        if usage is not None and usage["limit"]:
            return usage["count"], max(0, usage["time_left"])
        # The minute's counter expired between the two commands that raise it: now is the next one.
    raise redis.ResponseError("the counter is removed each time")


def _client() -> Any:
    return caches[settings.RATELIMIT_USE_CACHE].client.get_client()  # type: ignore[attr-defined]


def _tightness(rate: Rate) -> tuple[bool, int]:
    """Exceeded limits first, then the one with the least left; no limit last."""
    return (not rate.is_exceeded, rate.remaining if rate.limit.is_finite else 10**18)


def _headers(rate: Rate) -> dict[str, str]:
    return {
        "X-RateLimit-Limit": str(rate.limit.value),
        "X-RateLimit-Remaining": str(rate.remaining),
        "X-RateLimit-Reset": str(rate.time_left + 1),
    }


def refusal_of(group: LimitGroup, rate: Rate) -> AppError:
    """What a caller is told whose counter is exceeded."""
    wait = rate.time_left + 1
    whose = "this key" if rate.limit.subject is SubjectKind.KEY else "you"
    if rate.limit.value == 0:
        message = f"No {_NOUNS[group]} are allowed for {whose} ({rate.limit.name} is 0)."
    else:
        message = (
            f"{rate.limit.value} {_NOUNS[group]} a minute are allowed for {whose} "
            f"({rate.limit.name}): come back in {wait} s."
        )
    details = {
        "limit": rate.limit.name,
        "subject": str(rate.limit.subject),
        "source": rate.limit.source,
        "value": rate.limit.value,
        "resets_in": wait,
    }
    return AppError(ErrorCode.RATE_LIMIT_EXCEEDED, message, details=details, retry_after=wait)
