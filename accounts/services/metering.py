"""Metering: what a job has used is billed with its final state, in the same transaction."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from django.db import connection, transaction

from accounts.job_claims import minute_limits
from accounts.limit_policies import policies_of
from accounts.models import TokenReservation
from accounts.services.quotas import settle_minute

# By hand: adding to a row that may not be there yet, in one statement, so that two transactions
# which bill the same person's first job of the day both count.
_ADD = """
INSERT INTO accounts_usageday (day, user_id, role_slug, key_prefix, model_slug, username, requests,
  failed_requests, prompt_tokens, completion_tokens, cached_tokens)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (day, user_id, role_slug, key_prefix, model_slug) DO UPDATE SET
  requests = accounts_usageday.requests + excluded.requests,
  failed_requests = accounts_usageday.failed_requests + excluded.failed_requests,
  prompt_tokens = accounts_usageday.prompt_tokens + excluded.prompt_tokens,
  completion_tokens = accounts_usageday.completion_tokens + excluded.completion_tokens,
  cached_tokens = accounts_usageday.cached_tokens + excluded.cached_tokens
"""
# By hand as well: one statement that reads and removes.
_REMOVE = "DELETE FROM accounts_tokenreservation WHERE job_id IN ({}) RETURNING job_id, role_slug"


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays for a job; `key_prefix` is empty where no key asked for it."""

    user_id: int
    username: str
    role_id: int
    role_slug: str
    key_id: int | None
    key_prefix: str


@dataclass(frozen=True, slots=True)
class JobUsage:
    """What a job has really used, by its end."""

    job_id: uuid.UUID
    payer: Payer
    model_slug: str
    finished_at: datetime
    is_failed: bool
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @property
    def counts(self) -> tuple[int, ...]:
        """What is added to the columns of usage, in their order."""
        return (
            1,
            int(self.is_failed),
            self.prompt_tokens,
            self.completion_tokens,
            self.cached_tokens,
        )

    @property
    def minute_subjects(self) -> list[str]:
        payer = self.payer
        policies = policies_of(
            user_id=payer.user_id,
            role_id=payer.role_id,
            key_id=payer.key_id,
            model_slug=self.model_slug,
        )
        found = minute_limits(policies, payer.user_id, payer.key_id, self.model_slug)
        return [name for name, _ in found]


_Place = tuple[date, int, str, str, str, str]


def settle(usages: Sequence[JobUsage]) -> None:
    """Bill jobs that have ended and free what was set aside for them.

    Call it in the transaction that writes their final states, only with jobs whose state that
    transaction has changed: so each is billed once. The role that counts is that of the admission.
    """
    if not usages:
        return
    roles = _remove_reservations([usage.job_id for usage in usages])
    sums: dict[_Place, tuple[int, ...]] = defaultdict(lambda: (0, 0, 0, 0, 0))
    for usage in usages:
        payer, day = usage.payer, usage.finished_at.astimezone(UTC).date()
        role = roles.get(usage.job_id, payer.role_slug)
        place = (day, payer.user_id, role, payer.key_prefix, usage.model_slug, payer.username)
        sums[place] = tuple(map(sum, zip(sums[place], usage.counts, strict=True)))
    with connection.cursor() as cursor:
        for place in sorted(sums):  # in one order everywhere, so that two of these never deadlock
            adapted = connection.ops.adapt_datefield_value(place[0])
            cursor.execute(_ADD, (adapted, *place[1:], *sums[place]))
    minutes = [(str(usage.job_id), usage.total_tokens, usage.minute_subjects) for usage in usages]
    transaction.on_commit(lambda: settle_minute(minutes))


def _remove_reservations(job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """The role of each job's admission, of those that had tokens set aside."""
    column = TokenReservation._meta.pk
    by_value = {column.get_db_prep_value(job_id, connection): job_id for job_id in job_ids}
    with connection.cursor() as cursor:
        cursor.execute(_REMOVE.format(", ".join(["%s"] * len(by_value))), list(by_value))
        return {by_value[value]: role for value, role in cursor.fetchall()}
