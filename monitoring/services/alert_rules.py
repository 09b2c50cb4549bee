"""Writes of alert rules: checked, one transaction each, its audit row inside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.alerts.values import watchables
from monitoring.alerts.windows import LONGEST
from monitoring.alerts.words import Comparison, Severity
from monitoring.audit_actions import AuditAction
from monitoring.models import Alert, AlertRule
from monitoring.services.alerts import resolve
from monitoring.services.plain_text import check_line, invalid

MAX_RULES = 200
MAX_DURATION = 86_400
MIN_WINDOW = 30
MAX_LABELS = 10
MAX_LABEL_VALUE = 120
FIELDS = (
    "name", "summary", "metric", "labels", "comparison", "threshold", "duration", "window",
    "quantile", "severity", "is_enabled",
)  # fmt: skip


@transaction.atomic
def create_rule(*, actor: Any, values: Mapping[str, Any]) -> AlertRule:
    """A new rule; what `values` leaves out has its default.

    Raises AppError INVALID_INPUT naming the field, CONFLICT for a name that is taken.
    """
    if AlertRule.objects.count() >= MAX_RULES:
        raise AppError(ErrorCode.CONFLICT, f"There are {MAX_RULES} rules, and no room for more.")
    rule = AlertRule(**_checked(values))
    if not rule.name or not rule.metric or rule.threshold is None:
        missing = "name" if not rule.name else "metric" if not rule.metric else "threshold"
        raise invalid(missing, "is required")
    check_labels(rule.labels, rule.metric)
    _save(rule)
    audit.record(
        actor=actor, action=AuditAction.ALERT_RULE_CREATED, target=rule, after=describe_rule(rule)
    )
    return rule


@transaction.atomic
def change_rule(*, actor: Any, rule: AlertRule, changes: Mapping[str, Any]) -> AlertRule:
    """Changes what is given. A rule that is turned off ends its alerts.

    Raises AppError as `create_rule`, and NOT_FOUND where the rule is gone.
    """
    row = _locked(rule)
    before = describe_rule(row)
    for name, value in _checked(changes).items():
        setattr(row, name, value)
    check_labels(row.labels, row.metric)
    after = describe_rule(row)
    changed = [name for name in FIELDS if after[name] != before[name]]
    if not changed:
        return row
    _save(row)
    if not row.is_enabled:
        resolve(Alert.objects.firing().filter(rule=row))
    audit.record(
        actor=actor,
        action=AuditAction.ALERT_RULE_CHANGED,
        target=row,
        before={name: before[name] for name in changed},
        after={name: after[name] for name in changed},
    )
    return row


@transaction.atomic
def delete_rule(*, actor: Any, rule: AlertRule) -> None:
    """Ends its alerts; they stay in the history. Raises AppError CONFLICT for a built-in one."""
    row = _locked(rule)
    if row.is_builtin:
        raise AppError(ErrorCode.CONFLICT, f"'{row.name}' is built in: turn it off instead.")
    resolve(Alert.objects.firing().filter(rule=row))
    audit.record(
        actor=actor, action=AuditAction.ALERT_RULE_DELETED, target=row, before=describe_rule(row)
    )
    row.delete()


def describe_rule(rule: AlertRule) -> dict[str, Any]:
    """What the audit log keeps of a rule."""
    return {name: getattr(rule, name) for name in FIELDS}


def check_labels(labels: Any, metric: str) -> None:
    """Raises AppError INVALID_INPUT where a rule or a silence names a label that is not there."""
    if not isinstance(labels, dict) or len(labels) > MAX_LABELS:
        raise invalid("labels", f"must be an object with at most {MAX_LABELS} names")
    known = watchables().get(metric)
    for name, value in labels.items():
        if known is not None and name not in known.labels:
            there = ", ".join(known.labels) or "none"
            raise invalid("labels", f"{metric} has no label '{name[:40]}', only: {there}")
        if not isinstance(value, str) or not 0 < len(value) <= MAX_LABEL_VALUE:
            raise invalid("labels", f"values must be texts of 1 to {MAX_LABEL_VALUE} characters")
        if not f"{name}{value}".isprintable() or len(name) > MAX_LABEL_VALUE:
            raise invalid("labels", "must be printable")


def _checked(values: Mapping[str, Any]) -> dict[str, Any]:
    checked = {name: value for name, value in values.items() if name in FIELDS}
    if "name" in checked:
        checked["name"] = check_line("name", checked["name"], 100)
    if "summary" in checked:
        checked["summary"] = check_line("summary", checked["summary"], 300, may_be_empty=True)
    if "metric" in checked and checked["metric"] not in watchables():
        raise invalid("metric", f"nothing is measured under '{str(checked['metric'])[:80]}'")
    _check_word(checked, "comparison", [word.value for word in Comparison])
    _check_word(checked, "severity", [word.value for word in Severity])
    _check_number(checked, "duration", 0, MAX_DURATION)
    _check_number(checked, "window", MIN_WINDOW, LONGEST)
    _check_number(checked, "threshold", -1e18, 1e18)
    _check_number(checked, "quantile", 0.001, 0.999)
    return checked


def _check_word(values: dict[str, Any], field: str, words: list[str]) -> None:
    if field in values and values[field] not in words:
        raise invalid(field, f"must be one of {', '.join(words)}")


def _check_number(values: dict[str, Any], field: str, low: float, high: float) -> None:
    if field not in values:
        return
    number = values[field]
    if not math.isfinite(number) or not low <= number <= high:
        raise invalid(field, f"must be between {low:g} and {high:g}")


def _save(rule: AlertRule) -> None:
    try:
        with transaction.atomic():
            rule.save()
    except IntegrityError as error:
        raise AppError(ErrorCode.CONFLICT, f"name: there is a rule '{rule.name}'.") from error


def _locked(rule: AlertRule) -> AlertRule:
    row = AlertRule.objects.select_for_update().filter(pk=rule.pk).first()
    if row is None:
        raise AppError(ErrorCode.NOT_FOUND, "There is no such rule.")
    return row
