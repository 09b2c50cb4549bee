"""What was used: rows of usage, chosen, summed up and named for people and programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import F, Max, Sum

from accounts.models import ApiKey, UsageDay, User
from accounts.querysets import UsageDayQuerySet
from llamagpu.http.errors import AppError
from llamagpu.http.permissions import READ_SYSTEM, allows
from llamagpu.lib.error_codes import ErrorCode

#: How a group is called outside, and the column behind it.
GROUPS = {
    "day": "day",
    "model": "model_slug",
    "key": "key_prefix",
    "user": "user_id",
    "role": "role_slug",
}
COUNTS = (
    "requests",
    "failed_requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "total_tokens",
)


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """Which usage, from `first` to `last` day inclusive; an empty text chooses nothing."""

    first: date
    last: date
    user: str = ""
    key: str = ""
    model: str = ""
    role: str = ""


@dataclass(frozen=True, slots=True)
class UsageViewer:
    """Who looks, with which key (None for a session): a narrow key sees its owner's usage alone."""

    user: Any
    key: Any = None

    @property
    def sees_everybody(self) -> bool:
        return allows(READ_SYSTEM, self.user, self.key)

    @property
    def rows(self) -> UsageDayQuerySet:
        rows: UsageDayQuerySet = UsageDay.objects.visible_to(self.user)
        return rows if self.sees_everybody else rows.filter(user=self.user)

    def choose(self, question: UsageQuestion) -> UsageDayQuerySet:
        """The rows that the question means, of those that the viewer may see.

        Raises AppError NOT_FOUND for a user or key that is not there or not visible: nobody can tell.
        """
        rows = self.rows.filter(day__gte=question.first, day__lte=question.last)
        if question.user:
            rows = self._of_user(rows, question.user)
        if question.key:
            is_own = ApiKey.objects.filter(user=self.user, prefix=question.key).exists()
            if not is_own and not self.rows.filter(key_prefix=question.key).exists():
                raise AppError(ErrorCode.NOT_FOUND, "There is no such key.")
            rows = rows.filter(key_prefix=question.key)
        if question.model:
            rows = rows.filter(model_slug=question.model)
        if question.role:
            rows = rows.filter(role_slug=question.role)
        return rows

    def _of_user(self, rows: UsageDayQuerySet, name: str) -> UsageDayQuerySet:
        if name == self.user.username:
            return rows.filter(user=self.user)
        found = User.objects.filter(username=name).first() if self.sees_everybody else None
        if found is not None:
            return rows.filter(user_id=found.pk)
        if self.rows.filter(username=name).exists():  # of an account that is gone
            return rows.filter(username=name)
        raise AppError(ErrorCode.NOT_FOUND, "There is no such user.")


def sum_usage(rows: UsageDayQuerySet, groups: Iterable[str], limit: int) -> list[dict[str, Any]]:
    """At most `limit` sums, one a group, JSON-ready: days in order, else the largest first."""
    groups = list(groups)
    columns = [GROUPS[group] for group in groups]
    summed = rows.order_by().values(*columns).annotate(**_sums(), name=Max("username"))
    largest = F("sum_total_tokens").desc()
    ordered = summed.order_by(*(["day"] if "day" in groups else []), largest, *columns)
    found = list(ordered[:limit])
    names = _names({row["user_id"] for row in found}) if "user" in groups else {}
    return [{group: _label(group, row, names) for group in groups} | _counts(row) for row in found]


def total_usage(rows: UsageDayQuerySet) -> dict[str, int]:
    """The sum of all rows."""
    return _counts(rows.order_by().aggregate(**_sums()))


def users_with_usage(rows: UsageDayQuerySet, limit: int) -> list[str]:
    """Names of people who have used something, sorted."""
    ids = rows.order_by().values_list("user_id", flat=True).distinct()
    names = User.objects.filter(pk__in=ids).order_by("username")
    return list(names.values_list("username", flat=True)[:limit])


def _sums() -> dict[str, Any]:
    """Sums of the columns, named `sum_…` since an annotation must not be named like a column."""
    plain = {f"sum_{name}": Sum(name) for name in COUNTS if name != "total_tokens"}
    return plain | {"sum_total_tokens": Sum(F("prompt_tokens") + F("completion_tokens"))}


def _counts(sums: dict[str, Any]) -> dict[str, int]:
    return {name: int(sums[f"sum_{name}"] or 0) for name in COUNTS}


def _names(ids: set[int | None]) -> dict[int, str]:
    return dict(User.objects.filter(pk__in=[pk for pk in ids if pk]).values_list("pk", "username"))


def _label(group: str, row: dict[str, Any], names: dict[int, str]) -> str:
    if group == "user":
        return names.get(row["user_id"], row["name"])
    return str(row[GROUPS[group]])
