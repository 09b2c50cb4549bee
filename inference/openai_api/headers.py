"""The headers in which clients of OpenAI's API look for their limits."""

from __future__ import annotations

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


def as_duration(seconds: int) -> str:
    """`45s`, `6m0s`."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
