"""Quotas: tokens are set aside with a job's row, in the same transaction.

Two transactions cannot both take the last tokens of a subject: whoever wants some locks that
subject's row first, users before keys, roles and models. Where no limit holds, nothing is locked.
`accounts.services.metering` settles with the job's end.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import redis
from django.utils import timezone

from accounts.balances import Balance, read_balances
from accounts.job_claims import JobClaim
from accounts.limit_policies import Limit, Policies
from accounts.limit_subjects import SubjectKind
from accounts.limits import counting_unavailable, is_closed_without_redis
from accounts.models import LimitPolicy, TokenReservation, User
from accounts.quota_refusals import refuse_jobs, refuse_minute, refuse_quota
from accounts.token_rate import reserve_tokens, settle_tokens
from llamagpu.lib.prepared_write import insert_rows

logger = logging.getLogger(__name__)

#: Limits that the database counts, in the order in which they are checked.
QUOTAS = (
    "concurrent_jobs",
    "daily_tokens",
    "monthly_tokens",
    "pool_daily_tokens",
    "pool_monthly_tokens",
)


def limits_that_hold(claim: JobClaim) -> list[dict[str, Any]]:
    """The finite limits on tokens and jobs that bear on a job: of what, of whom, set where."""
    policies = claim.policies
    return [
        {
            "limit": limit.name,
            "subject": str(limit.subject),
            "value": limit.value,
            "source": limit.source,
        }
        for name in ("tokens_per_minute", *QUOTAS)
        for limit in policies.limits(name)
        if limit.is_finite
    ]


def reserve_minute(claim: JobClaim) -> None:
    """Count a job's tokens against the minute's limits, before its transaction begins.

    Raises AppError RATE_LIMIT_EXCEEDED, or BACKEND_UNAVAILABLE where Redis is away and the
    configuration says closed. Follow with `release_minute` if the job does not come to be.
    """
    limits = claim.minute_limits
    if not limits:
        return
    try:
        full = reserve_tokens(str(claim.job_id), claim.tokens, limits)
    except redis.RedisError as error:
        logger.warning("tokens cannot be counted: %s", error)
        if is_closed_without_redis():
            raise counting_unavailable() from error
        return
    if full is not None:
        raise refuse_minute(full, claim.tokens)


def release_minute(claim: JobClaim) -> None:
    """Take back what `reserve_minute` has counted."""
    settle_minute([(str(claim.job_id), 0, [name for name, _ in claim.minute_limits])])


def settle_minute(jobs: Sequence[tuple[str, int, Sequence[str]]]) -> None:
    """Correct what `reserve_minute` counted: (job, tokens used, names of its subjects)."""
    counted = [job for job in jobs if job[2]]
    if not counted:
        return
    try:
        settle_tokens(counted)
    except redis.RedisError as error:  # a minute after their admission they count no more
        logger.warning("the tokens of %s jobs were not corrected: %s", len(counted), error)


def reserve(claim: JobClaim) -> None:
    """Set a job's tokens aside. Call it in the transaction that writes the job's row, before it.

    Raises AppError RATE_LIMIT_EXCEEDED for too many jobs at once, QUOTA_EXCEEDED for tokens that a
    quota does not hold any more.
    """
    reserve_all([claim])


def reserve_all(claims: Sequence[JobClaim]) -> None:
    """As `reserve`, for jobs of one user, key and model together: all of them fit, or none."""
    if not claims:
        return
    first = claims[0]
    policies = first.policies
    limits = [limit for name in QUOTAS for limit in policies.limits(name) if limit.is_finite]
    if limits:
        _lock(first, policies, limits)
        whole = replace(first, tokens=sum(claim.tokens for claim in claims))
        _check(whole, limits, num_jobs=len(claims))
    role_slug = first.user.role.slug
    reservations = [
        TokenReservation(
            job_id=claim.job_id,
            user=claim.user,
            api_key=claim.api_key,
            role_slug=role_slug,
            model_slug=claim.model_slug,
            tokens=claim.tokens,
        )
        for claim in claims
    ]
    insert_rows(reservations)


def _lock(claim: JobClaim, policies: Policies, limits: Sequence[Limit]) -> None:
    """Take the subjects' turns: the user's row, then rows of limits by their ids."""
    kinds = {limit.subject for limit in limits}
    if SubjectKind.USER in kinds:
        list(User.objects.select_for_update(no_key=True).filter(pk=claim.user.pk).values("pk"))
    owners = {
        SubjectKind.KEY: policies.key,
        SubjectKind.ROLE: policies.role,
        SubjectKind.MODEL: policies.model,
    }
    rows = [policy.pk for kind, policy in owners.items() if kind in kinds and policy is not None]
    if rows:
        locked = LimitPolicy.objects.select_for_update(no_key=True).filter(pk__in=rows)
        list(locked.order_by("pk").values("pk"))


def _check(claim: JobClaim, limits: Sequence[Limit], num_jobs: int) -> None:
    now = timezone.now()
    kinds = list(dict.fromkeys(limit.subject for limit in limits))
    accounts = [claim.account(kind) for kind in kinds]
    balances = dict(zip(kinds, read_balances(accounts, now.date()), strict=True))
    for limit in limits:
        balance: Balance = balances[limit.subject]
        if limit.name == "concurrent_jobs":
            if balance.jobs + num_jobs > limit.value:
                raise refuse_jobs(limit, balance.jobs)
            continue
        used = balance.used_today if "daily" in limit.name else balance.used_this_month
        if used + balance.reserved + claim.tokens > limit.value:
            raise refuse_quota(limit, used, balance.reserved, claim.tokens, now)
