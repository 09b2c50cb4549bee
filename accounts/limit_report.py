"""The limits that hold for one caller: value, where it comes from, what is taken, when it returns."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import redis
from django.utils import timezone

from accounts.balances import Balance, read_balances
from accounts.job_claims import JobClaim, minute_subject
from accounts.limit_policies import Limit
from accounts.limit_subjects import LIMIT_NAMES, SubjectKind
from accounts.limits import count_request
from accounts.quota_refusals import end_of_period
from accounts.services.quotas import QUOTAS
from accounts.token_rate import tokens_this_minute
from llamagpu.http.permissions import LimitGroup


def report_limits(request: Any, user: Any, key: Any) -> list[dict[str, Any]]:
    """Every limit of a caller, JSON-ready; -1 is no limit, null is a number that is not known now.

    `used` of a minute's tokens holds those set aside. A request's own counting is left out.
    """
    now = timezone.now()
    claim = JobClaim(uuid.UUID(int=0), user, key, "", 0)
    found = [*_rates(request, user, key, now), *_minute_tokens(claim), *_quotas(claim, now)]
    order = {name: place for place, name in enumerate(LIMIT_NAMES)}
    return sorted(found, key=lambda row: order[row["limit"]])


def _rates(request: Any, user: Any, key: Any, now: datetime) -> Iterator[dict[str, Any]]:
    for group in LimitGroup:
        try:
            rates = list(count_request(request, group, user, key, increment=False))
        except redis.RedisError:
            claim = JobClaim(uuid.UUID(int=0), user, key, "", 0)
            limits = claim.policies.limits(f"{group}_per_minute")
            yield from (_row(limit, None) for limit in limits)
            continue
        for rate in rates:
            resets_at = now + timedelta(seconds=rate.time_left + 1)
            yield _row(rate.limit, rate.count, resets_at=resets_at if rate.count else None)


def _minute_tokens(claim: JobClaim) -> Iterator[dict[str, Any]]:
    key_id = claim.api_key.pk if claim.api_key else None
    for limit in claim.policies.limits("tokens_per_minute"):
        used = None
        if limit.is_finite:  # without a limit nobody counts
            try:
                used = tokens_this_minute(minute_subject(limit.subject, claim.user.pk, key_id))
            except redis.RedisError:
                used = None
        yield _row(limit, used)


def _quotas(claim: JobClaim, now: datetime) -> Iterator[dict[str, Any]]:
    policies = claim.policies
    limits = [limit for name in QUOTAS for limit in policies.limits(name)]
    # A pool that has no limit is nothing that its members need to know of.
    limits = [limit for limit in limits if limit.subject is not SubjectKind.ROLE or limit.is_finite]
    kinds = list(dict.fromkeys(limit.subject for limit in limits))
    balances = read_balances([claim.account(kind) for kind in kinds], now.date())
    by_kind = dict(zip(kinds, balances, strict=True))
    for limit in limits:
        balance: Balance = by_kind[limit.subject]
        if limit.name == "concurrent_jobs":
            yield _row(limit, balance.jobs)
            continue
        used = balance.used_today if "daily" in limit.name else balance.used_this_month
        ends = end_of_period(limit.name, now)
        yield _row(limit, used, reserved=balance.reserved, resets_at=ends)


def _row(
    limit: Limit, used: int | None, *, reserved: int = 0, resets_at: datetime | None = None
) -> dict[str, Any]:
    is_known = limit.is_finite and used is not None
    return {
        "limit": limit.name,
        "subject": str(limit.subject),
        "source": limit.source,
        "value": limit.value,
        "used": used,
        "reserved": reserved,
        "remaining": max(0, limit.value - (used or 0) - reserved) if is_known else None,
        "resets_at": resets_at.isoformat(timespec="seconds") if resets_at else None,
    }
