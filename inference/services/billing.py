"""Whose jobs they are that end: who pays, and what is kept of their texts. One read for all of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from accounts.retention import retention_of
from accounts.services.metering import Payer
from inference.models import InferenceJob
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.retention import Retention

_COLUMNS = (
    "pk",
    "model__slug",
    "owner__retention",
    "api_key__retention",
    "owner_id",
    "owner__username",
    "owner__role_id",
    "owner__role__slug",
    "api_key_id",
    "api_key__prefix",
    "created_at",
    "admission_time",
)
_ROWS: PreparedQuery[tuple[Any, ...]] = PreparedQuery(
    lambda *ids: InferenceJob.objects.filter(pk__in=ids).order_by().values_list(*_COLUMNS)
)


@dataclass(frozen=True, slots=True)
class Account:
    """Of one job, with when it came; the policy is that of owner, key and configuration of now."""

    payer: Payer
    model_slug: str
    retention: Retention
    created_at: datetime
    admission_time: float

    def seconds_until(self, end: datetime) -> float:
        """What the job took, from its call on."""
        return (end - self.created_at).total_seconds() + self.admission_time


def accounts_of(job_ids: Iterable[UUID]) -> dict[UUID, Account]:
    """Those of the jobs that have a row."""
    return {
        row[0]: Account(
            payer=Payer(row[4], row[5], row[6], row[7], row[8], row[9] or ""),
            model_slug=row[1],
            retention=retention_of(row[2], row[3] or ""),
            created_at=row[10],
            admission_time=row[11] or 0.0,
        )
        for row in _ROWS.rows(*dict.fromkeys(job_ids))
    }
