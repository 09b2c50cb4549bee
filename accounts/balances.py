"""What subjects have used and what is set aside for them, all of it seen at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce

from accounts.models import TokenReservation, UsageDay

_TOKENS = F("prompt_tokens") + F("completion_tokens")


@dataclass(frozen=True, slots=True)
class Account:
    """Whose balance: how its rows are found among reservations and among usage."""

    reservations: dict[str, Any]
    usage: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Balance:
    """Live jobs, tokens set aside for them, tokens used on the day and since its month began."""

    jobs: int
    reserved: int
    used_today: int
    used_this_month: int


def account_of_user(user_id: int) -> Account:
    return Account({"user_id": user_id}, {"user_id": user_id})


def account_of_key(key_id: int, prefix: str) -> Account:
    return Account({"api_key_id": key_id}, {"key_prefix": prefix})


def account_of_role(slug: str) -> Account:
    return Account({"role_slug": slug}, {"role_slug": slug})


def account_of_model(slug: str) -> Account:
    return Account({"model_slug": slug}, {"model_slug": slug})


def read_balances(accounts: Sequence[Account], day: date) -> list[Balance]:
    """The balances, in order, as of one statement.

    Two statements could miss a job that ends between them: neither set aside nor used any more.
    """
    if not accounts:
        return []
    zero = Value(0)
    parts: list[QuerySet[Any, Any]] = []
    for index, account in enumerate(accounts):
        reserved = TokenReservation.objects.filter(**account.reservations).order_by()
        parts.append(
            reserved.values(part=Value(2 * index)).annotate(
                first=Count("pk"), second=Coalesce(Sum("tokens"), zero)
            )
        )
        used = UsageDay.objects.filter(**account.usage, day__gte=day.replace(day=1), day__lte=day)
        parts.append(
            used.order_by()
            .values(part=Value(2 * index + 1))
            .annotate(
                first=Coalesce(Sum(_TOKENS, filter=Q(day=day)), zero),
                second=Coalesce(Sum(_TOKENS), zero),
            )
        )
    rows = [part.values_list("part", "first", "second") for part in parts]
    found = {
        int(part): (int(first), int(second))
        for part, first, second in rows[0].union(*rows[1:], all=True)
    }
    return [Balance(*found[2 * index], *found[2 * index + 1]) for index in range(len(accounts))]
