"""Metering: what a job has used is billed with its final state, in the same transaction."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from accounts.job_claims import JobClaim
from accounts.models import ApiKey, TokenReservation, UsageDay, User
from accounts.services.quotas import settle_minute


@dataclass(frozen=True, slots=True)
class JobUsage:
    """What a job has really used, by its end."""

    job_id: uuid.UUID
    user_id: int
    key_id: int | None
    model_slug: str
    finished_at: datetime
    is_failed: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


def settle(usages: Sequence[JobUsage]) -> None:
    """Bill jobs that have ended and free what was set aside for them.

    Call it in the transaction that writes their final states, only with jobs whose state that
    transaction has changed: so each is billed once.
    """
    if not usages:
        return
    reservations = TokenReservation.objects.in_bulk([usage.job_id for usage in usages])
    users = User.objects.select_related("role").in_bulk({usage.user_id for usage in usages})
    keys = ApiKey.objects.in_bulk({usage.key_id for usage in usages if usage.key_id is not None})
    bills: dict[_BillKey, _Bill] = defaultdict(_Bill)
    minutes = []
    for usage in usages:
        reservation, user = reservations.get(usage.job_id), users.get(usage.user_id)
        if user is None:  # deleted while the job ran, and its jobs with it
            continue
        key = keys.get(usage.key_id) if usage.key_id is not None else None
        role_slug = reservation.role_slug if reservation else user.role.slug
        day = usage.finished_at.astimezone(UTC).date()
        place = (day, user.pk, role_slug, key.prefix if key else "", usage.model_slug)
        bills[place].add(user.username, usage)
        claim = JobClaim(usage.job_id, user, key, usage.model_slug, usage.total_tokens)
        minutes.append((str(usage.job_id), claim.tokens, [name for name, _ in claim.minute_limits]))
    TokenReservation.objects.filter(pk__in=list(reservations)).delete()
    for place in sorted(bills):  # in one order everywhere, so that two of these never deadlock
        _write(place, bills[place])
    transaction.on_commit(lambda: settle_minute(minutes))


_BillKey = tuple[Any, int, str, str, str]


@dataclass(slots=True)
class _Bill:
    """What is to be added to one row of usage."""

    username: str = ""
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, username: str, usage: JobUsage) -> None:
        self.username = username
        self.counts["requests"] += 1
        self.counts["failed_requests"] += usage.is_failed
        self.counts["prompt_tokens"] += usage.prompt_tokens
        self.counts["completion_tokens"] += usage.completion_tokens
        self.counts["cached_tokens"] += usage.cached_tokens


def _write(place: _BillKey, bill: _Bill) -> None:
    day, user_id, role_slug, key_prefix, model_slug = place
    row = {
        "day": day,
        "user_id": user_id,
        "role_slug": role_slug,
        "key_prefix": key_prefix,
        "model_slug": model_slug,
    }
    changes = {name: F(name) + count for name, count in bill.counts.items()}
    if UsageDay.objects.filter(**row).update(**changes):
        return
    # Another transaction may make the same row at this moment: then both add to it.
    UsageDay.objects.bulk_create([UsageDay(**row, username=bill.username)], ignore_conflicts=True)
    UsageDay.objects.filter(**row).update(**changes)
