"""What a model did in the last two weeks, day by day, from its ended jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.db.models import Avg, Count, Q, Sum
from django.db.models.functions import TruncDate
from django.utils import timezone

from inference.models import Model
from inference.states import JobState

DAYS = 14


@dataclass(frozen=True, slots=True)
class Day:
    """`ttft` is the mean in seconds, `rate` tokens a second of a single request, both None without any."""

    day: date
    num_jobs: int
    num_failed: int
    completion_tokens: int
    ttft: float | None
    rate: float | None


def history_of(model: Model) -> list[Day]:
    """The days that had jobs, the newest first."""
    since = timezone.now() - timedelta(days=DAYS)
    succeeded = Q(state=JobState.SUCCEEDED)
    rows = (
        model.jobs.filter(finished_at__gte=since)
        .order_by()
        .annotate(day=TruncDate("finished_at"))
        .values("day")
        .annotate(
            num_jobs=Count("id"),
            num_failed=Count("id", filter=Q(state=JobState.FAILED)),
            tokens=Sum("completion_tokens"),
            mean_ttft=Avg("ttft", filter=succeeded),
            decoded=Sum("completion_tokens", filter=succeeded),
            seconds=Sum("inference_time", filter=succeeded),
        )
        .order_by("-day")
    )
    return [_day(row) for row in rows]


def _day(row: Mapping[str, Any]) -> Day:
    rate = row["decoded"] / row["seconds"] if row["decoded"] and row["seconds"] else None
    return Day(
        row["day"], row["num_jobs"], row["num_failed"], row["tokens"] or 0, row["mean_ttft"], rate
    )
