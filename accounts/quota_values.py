"""How much of their daily and monthly tokens users have used, for the rules of alerts.

Whoever may see alerts sees these: a user is named by its number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, Sum
from django.utils import timezone

from accounts.limit_policies import policies_of
from accounts.limit_subjects import SubjectKind
from accounts.models import UNLIMITED, LimitPolicy, UsageDay, User
from monitoring.alerts.values import Value, register_value
from monitoring.configuration import current
from monitoring.metrics.labels import Key
from monitoring.metrics.reading import Snapshot

_QUOTAS = ("daily_tokens", "monthly_tokens")
_EVERY = 30.0
#: Users with use in this month that are looked at, those with most first.
_MOST_USERS = 500


def register() -> None:
    register_value(
        Value(
            "quota_used_ratio",
            "Used part of a user's daily or monthly tokens.",
            ("limit", "user_id"),
            _read,
            every=_EVERY,
        )
    )


def _read(snapshot: Snapshot) -> Mapping[Key, float]:
    return used_ratios() if _is_any_limited() else {}


def used_ratios() -> dict[Key, float]:
    today = timezone.now().date()
    tokens = Sum("prompt_tokens") + Sum("completion_tokens")
    used = (
        UsageDay.objects.filter(day__gte=today.replace(day=1), day__lte=today)
        .order_by()
        .values("user_id")
        .annotate(
            monthly_tokens=tokens,
            daily_tokens=Sum("prompt_tokens", filter=Q(day=today), default=0)
            + Sum("completion_tokens", filter=Q(day=today), default=0),
        )
        .order_by("-monthly_tokens")[:_MOST_USERS]
    )
    rows: dict[int | None, dict[str, Any]] = {row["user_id"]: dict(row) for row in used}
    roles = User.objects.filter(pk__in=[pk for pk in rows if pk], is_active=True).values_list(
        "pk", "role_id"
    )
    found: dict[Key, float] = {}
    for user_id, role_id in roles:
        policies = policies_of(user_id=user_id, role_id=role_id)
        for name in _QUOTAS:
            for limit in policies.limits(name):
                if limit.subject is SubjectKind.USER and limit.value > 0:
                    found[(name, str(user_id))] = rows[user_id][name] / limit.value
    return found


def _is_any_limited() -> bool:
    if any(getattr(current(), name) != UNLIMITED for name in _QUOTAS):
        return True
    limited = Q(daily_tokens__gt=0) | Q(monthly_tokens__gt=0)
    return LimitPolicy.objects.filter(limited).exists()
