"""The headers in which clients of OpenAI's API look for their limits."""

from __future__ import annotations

import logging
from typing import Any

import redis

from accounts.job_claims import minute_limits
from accounts.limit_policies import policies_of
from accounts.token_rate import tokens_this_minute

logger = logging.getLogger(__name__)

_NAMES = {
    "X-RateLimit-Limit": "x-ratelimit-limit-requests",
    "X-RateLimit-Remaining": "x-ratelimit-remaining-requests",
}


def add_rate_headers(headers: dict[str, str]) -> None:
    """Says once more, under those names, what the throttle has said; nothing where no limit holds."""
    if headers.get("X-RateLimit-Limit", "-1") == "-1":
        return
    for ours, theirs in _NAMES.items():
        headers[theirs] = headers[ours]
    headers["x-ratelimit-reset-requests"] = as_duration(int(headers["X-RateLimit-Reset"]))


def add_token_headers(headers: dict[str, str], user: Any, key: Any, model_slug: str) -> None:
    """Says what is left of the tokens of a minute; nothing where no limit holds or Redis is away."""
    key_id = key.pk if key else None
    policies = policies_of(
        user_id=user.pk, role_id=user.role_id, key_id=key_id, model_slug=model_slug
    )
    limits = minute_limits(policies, user.pk, key_id, model_slug)
    try:
        counted = [(limit.value, tokens_this_minute(subject)) for subject, limit in limits]
    except redis.RedisError as error:
        logger.warning("the tokens of this minute cannot be told: %s", error)
        return
    if not counted:
        return
    value, used = min(counted, key=lambda pair: pair[0] - pair[1])
    headers["x-ratelimit-limit-tokens"] = str(value)
    headers["x-ratelimit-remaining-tokens"] = str(max(0, value - used))
    # Tokens count for a minute from their call's admission on, and the newest call is this one.
    headers["x-ratelimit-reset-tokens"] = as_duration(60 if used else 0)


def as_duration(seconds: int) -> str:
    """`45s`, `6m0s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
