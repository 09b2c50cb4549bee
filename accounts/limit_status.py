"""What limits contribute to health and status: whether they are counted, and what holds where not."""

from __future__ import annotations

from typing import Any

from accounts.limits import redis_counts
from monitoring.configuration import current
from monitoring.health import ProbeFailedError, register_probe
from monitoring.snapshot import register_section


def register() -> None:
    register_probe("limits", probe_limits)
    register_section("limits", limits_section)


def probe_limits() -> str:
    if redis_counts():
        return "requests are counted"
    raise ProbeFailedError(f"requests cannot be counted: {_consequence()}")


def limits_section() -> dict[str, Any]:
    """`without_redis` is the policy; `note` says what it means while nothing can be counted."""
    counts = redis_counts()
    return {
        "counting": counts,
        "without_redis": current().limits_without_redis,
        "note": None if counts else _consequence(),
    }


def _consequence() -> str:
    inference = (
        "inference is refused"
        if current().limits_without_redis == "closed"
        else "inference is not limited"
    )
    return f"{inference} (LLAMA_LIMITS_WITHOUT_REDIS) and nobody can sign in"
