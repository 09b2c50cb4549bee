"""Audit rows as the API, the export and the page show them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from llamagpu.lib.csv_lines import csv_line
from monitoring.models import AuditLog, AuditVerification

_COLUMNS = (
    "id",
    "created_at",
    "actor",
    "actor_id",
    "action",
    "outcome",
    "target_type",
    "target_id",
    "target_name",
    "ip",
    "key_prefix",
    "request_id",
    "data",
    "before",
    "after",
    "hash",
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that a deed changed; `was` or `became` is None where it came or went."""

    name: str
    was: str | None
    became: str | None


def shape_row(row: AuditLog) -> dict[str, Any]:
    """A row as JSON-ready values."""
    return {
        "id": row.pk,
        "created_at": row.created_at.isoformat(),
        "actor": row.actor_name,
        "actor_id": row.actor_id,
        "action": row.action,
        "outcome": row.outcome,
        "target_type": row.target_type,
        "target_id": row.target_id,
        "target_name": row.target_name,
        "ip": row.ip,
        "key_prefix": row.key_prefix,
        "request_id": row.request_id,
        "data": row.data,
        "before": row.before,
        "after": row.after,
        "hash": row.hash,
    }


def json_line(row: AuditLog) -> str:
    return json.dumps(shape_row(row), ensure_ascii=False) + "\n"


def csv_head() -> str:
    return csv_line(_COLUMNS)


def csv_row(row: AuditLog) -> str:
    """The row's columns; nested values as JSON in one cell."""
    values = shape_row(row)
    return csv_line(
        json.dumps(values[name], ensure_ascii=False)
        if isinstance(values[name], dict | list)
        else values[name]
        for name in _COLUMNS
    )


def differences(row: AuditLog) -> list[Difference]:
    """What `before` and `after` disagree on, by name."""
    before, after = (value if isinstance(value, dict) else {} for value in (row.before, row.after))
    names = sorted({*before, *after})
    return [
        Difference(
            name,
            _plain(before[name]) if name in before else None,
            _plain(after[name]) if name in after else None,
        )
        for name in names
        if name not in before or name not in after or before[name] != after[name]
    ]


def details(row: AuditLog) -> list[tuple[str, str]]:
    """The remaining facts of a row, by name."""
    return [(name, _plain(value)) for name, value in (row.data or {}).items()]


def last_verification() -> AuditVerification | None:
    """What the last `manage.py audit_verify` found, or None where it never ran."""
    return AuditVerification.objects.filter(pk=1).first()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
