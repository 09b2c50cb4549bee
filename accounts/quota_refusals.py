"""What a caller is told who has used up a limit: which one, how much of it is taken, when to return."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounts.limit_policies import Limit
from accounts.limit_subjects import SubjectKind
from accounts.token_rate import NoRoom
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode

# Tokens set aside come back as soon as a running job ends.
_SOON = 5
_JOB_ENDS = 2

_WHOSE = {
    SubjectKind.USER: "your",
    SubjectKind.KEY: "this key's",
    SubjectKind.ROLE: "your role's shared",
    SubjectKind.MODEL: "this model's",
}


def end_of_period(name: str, now: datetime) -> datetime:
    """When the day or the month of the quota `name` ends, in UTC."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if "daily" in name:
        return midnight + timedelta(days=1)
    return (midnight.replace(day=1) + timedelta(days=32)).replace(day=1)


def refuse_jobs(limit: Limit, running: int) -> AppError:
    message = (
        f"{running} jobs are waiting or running, and {_WHOSE[limit.subject]} limit of jobs at once "
        f"(concurrent_jobs) is {limit.value}: come back when one has ended."
    )
    details = _details(limit) | {"used": running}
    return AppError(ErrorCode.RATE_LIMIT_EXCEEDED, message, details=details, retry_after=_JOB_ENDS)


def refuse_minute(full: NoRoom, asked: int) -> AppError:
    limit = full.limit
    whose = _WHOSE[limit.subject]
    message = (
        f"The request may take {asked} tokens, {full.used} were taken within the last minute, and "
        f"{whose} limit (tokens_per_minute) is {limit.value}: "
    )
    message += (
        "lower max_tokens or shorten the text."
        if asked > limit.value
        else f"come back in {full.wait} s."
    )
    details = _details(limit) | {"used": full.used, "asked": asked}
    return AppError(ErrorCode.RATE_LIMIT_EXCEEDED, message, details=details, retry_after=full.wait)


def refuse_quota(limit: Limit, used: int, reserved: int, asked: int, now: datetime) -> AppError:
    """Retry-After names the period's end, or a few seconds where tokens set aside may come back."""
    ends = end_of_period(limit.name, now)
    may_come_back = used + asked <= limit.value
    wait = _SOON if may_come_back else max(1, int((ends - now).total_seconds()) + 1)
    message = (
        f"The request may take {asked} tokens; of {_WHOSE[limit.subject]} quota ({limit.name}) of "
        f"{limit.value}, {used} are used and {reserved} are set aside for running requests. "
    )
    message += (
        "What those do not use comes back when they end."
        if may_come_back
        else f"The quota begins anew at {ends:%Y-%m-%d %H:%M} UTC."
    )
    details = _details(limit) | {
        "used": used,
        "reserved": reserved,
        "asked": asked,
        "resets_at": ends.isoformat(),
    }
    return AppError(ErrorCode.QUOTA_EXCEEDED, message, details=details, retry_after=wait)


def _details(limit: Limit) -> dict[str, str | int]:
    return {
        "limit": limit.name,
        "subject": str(limit.subject),
        "source": limit.source,
        "value": limit.value,
    }
