"""How plugins act: in which order, for which models and roles, within which limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from django.db import transaction

from accounts.models import Role
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.audit_actions import AuditAction
from plugins_app.models import MAX_ORDER, Plugin
from plugins_app.services.changes import control_of, locked, save_change
from plugins_app.services.lifecycle import disable_plugin, enable_plugin
from plugins_app.spec import Budget, FailurePolicy

MAX_NAMES = 200
_STEP = 10
_MIB = 1024 * 1024
#: Lowest and highest value of each limit.
BUDGET_RANGES: dict[str, tuple[float, float]] = {
    "call_timeout": (0.01, 60.0),
    "start_timeout": (0.5, 120.0),
    "max_output_bytes": (1024, 64 * _MIB),
    "memory_bytes": (64 * _MIB, 65536 * _MIB),
    "max_processes": (1, 1024),
    "max_open_files": (16, 4096),
}
WHOLE_LIMITS = {field.name for field in fields(Budget) if field.type == "int"}
_MODEL = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")


@transaction.atomic
def change_plugin(*, actor: Any, plugin: Plugin, changes: Mapping[str, Any]) -> Plugin:
    """Set `order`, `policy`, `models`, `roles` or `budget`, whose other limits are the usual ones then;
    `enabled` as `enable_plugin` and `disable_plugin` do.

    Raises AppError INVALID_INPUT naming the field, and what `enable_plugin` raises.
    """
    row = locked(plugin)
    before = control_of(row)
    for name, value in changes.items():
        if name != "enabled":
            column, check = _CHANGEABLE[name]
            setattr(row, column, check(value))
    if control_of(row) != before:
        save_change(row, actor=actor, action=AuditAction.PLUGIN_CHANGED, before=before)
    if "enabled" in changes:
        set_enabled = enable_plugin if changes["enabled"] else disable_plugin
        row = set_enabled(actor=actor, plugin=row)
    return row


@transaction.atomic
def order_plugins(*, actor: Any, slugs: Sequence[str]) -> list[Plugin]:
    """Have these act in this order, before all that are not named, which keep theirs.

    Raises AppError INVALID_INPUT for a name that is there twice, PLUGIN_NOT_FOUND.
    """
    if len(set(slugs)) < len(slugs):
        raise _invalid("plugins", "names one twice")
    rows = {row.slug: row for row in Plugin.objects.select_for_update().order_by("pk")}
    if missing := [slug for slug in slugs if slug not in rows]:
        raise AppError(ErrorCode.PLUGIN_NOT_FOUND, f"There is no plugin '{missing[0]}'.")
    others = sorted(
        (row for slug, row in rows.items() if slug not in slugs),
        key=lambda row: (row.order, row.slug),
    )
    ordered = [*(rows[slug] for slug in slugs), *others]
    for number, row in enumerate(ordered, 1):
        before, row.order = control_of(row), min(number * _STEP, MAX_ORDER)
        if control_of(row) != before:
            save_change(row, actor=actor, action=AuditAction.PLUGIN_CHANGED, before=before)
    return ordered


def _order(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ORDER:
        raise _invalid("order", f"must be a whole number from 0 to {MAX_ORDER}")
    return value


def _policy(value: Any) -> str:
    try:
        return FailurePolicy(value).value
    except ValueError:
        raise _invalid("policy", f"must be one of {', '.join(FailurePolicy)}") from None


def _models(value: Any) -> list[str]:
    names = _names("models", value)
    if wrong := [name for name in names if not _MODEL.fullmatch(name)]:
        raise _invalid("models", f"{wrong[0][:60]!r} can be no model's name")
    return names


def _roles(value: Any) -> list[str]:
    names = _names("roles", value)
    known = set(Role.objects.values_list("slug", flat=True))
    if unknown := [name for name in names if name not in known]:
        raise _invalid("roles", f"there is no role {unknown[0][:60]!r}")
    return names


def _names(field: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise _invalid(field, "must be a list of names")
    if len(value) > MAX_NAMES:
        raise _invalid(field, f"must name at most {MAX_NAMES}")
    return sorted(set(value))


def _budget(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise _invalid("budget", "must be an object")
    for name, number in value.items():
        if name not in BUDGET_RANGES:
            raise _invalid(f"budget.{str(name)[:60]}", "is no limit of a plugin")
        low, high = BUDGET_RANGES[name]
        kind = int if name in WHOLE_LIMITS else (int, float)
        is_number = isinstance(number, kind) and not isinstance(number, bool)
        if not is_number or not math.isfinite(number) or not low <= number <= high:
            what = "a whole number" if name in WHOLE_LIMITS else "a number"
            raise _invalid(f"budget.{name}", f"must be {what} from {low:g} to {high:g}")
    return dict(value)


_CHANGEABLE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "order": ("order", _order),
    "policy": ("policy", _policy),
    "models": ("for_models", _models),
    "roles": ("for_roles", _roles),
    "budget": ("budget", _budget),
}


def _invalid(field: str, message: str) -> AppError:
    return AppError(
        ErrorCode.INVALID_INPUT,
        f"{field}: {message}.",
        details=[{"field": field, "message": message}],
    )
