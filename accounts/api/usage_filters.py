"""Query parameters of usage: which rows, in which groups, in which form."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.utils import timezone
from rest_framework import serializers

from accounts.usage import GROUPS, UsageQuestion
from llamagpu.http.fields import StrictSerializer, TextField

DEFAULT_DAYS = 30
MAX_DAYS = 366


class DayField(serializers.DateField):
    """A day (UTC) as YYYY-MM-DD."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(input_formats=["%Y-%m-%d"], **kwargs)


class UsageRows(StrictSerializer):
    """`from` and `to` are inclusive; without them the last thirty days are meant."""

    user = TextField(required=False, max_length=150)
    key = TextField(required=False, max_length=8, help_text="a key's prefix")
    model = TextField(required=False, max_length=128)
    role = TextField(required=False, max_length=32)

    def get_fields(self) -> dict[str, Any]:
        days = {name: DayField(required=False) for name in ("from", "to")}
        return {**super().get_fields(), **days}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        last: date = attrs.get("to") or max(timezone.now().date(), attrs.get("from", date.min))
        earliest = last - min(timedelta(days=DEFAULT_DAYS - 1), last - date.min)
        first: date = attrs.get("from") or earliest
        if first > last:
            raise serializers.ValidationError({"from": "Must not be after to."})
        if (last - first).days >= MAX_DAYS:
            raise serializers.ValidationError({"from": f"Must be within {MAX_DAYS} days of to."})
        return {**attrs, "from": first, "to": last}


class UsageFilters(UsageRows):
    """Filters of GET /api/usage."""

    group_by = TextField(default="day", help_text=f"one or several of {', '.join(GROUPS)}")
    format = serializers.ChoiceField(choices=["json", "csv"], required=False)

    def validate_group_by(self, value: str) -> list[str]:
        names = value.split(",")
        unknown = [name for name in names if name not in GROUPS]
        if unknown or len(set(names)) < len(names):
            known = ", ".join(GROUPS)
            raise serializers.ValidationError(
                f"Must be one or several of {known}, each once, with commas between them."
            )
        return names


def question_of(fields: dict[str, Any]) -> UsageQuestion:
    """The question that checked parameters ask."""
    chosen = {name: fields.get(name, "") for name in ("user", "key", "model", "role")}
    return UsageQuestion(first=fields["from"], last=fields["to"], **chosen)
