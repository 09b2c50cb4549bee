"""Changes of the system configuration: all or nothing, checked as the environment is, audited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.db import transaction
from django.utils import timezone

from llamagpu.http.errors import AppError
from llamagpu.lib.env import EnvError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.setting_fields import FIELD_BY_NAME
from monitoring import audit, configuration
from monitoring.audit_actions import AuditAction
from monitoring.configuration_listing import FIXED_AT_START, effective_values
from monitoring.models import ConfigValue

#: Says what is wrong with a value that is valid by itself, or None.
Validator = Callable[[Any], str | None]

_validators: dict[str, Validator] = {}


def register_validator(name: str, validator: Validator) -> None:
    """An app above knows more of a value than its form, e.g. which models there are."""
    _validators[name] = validator


@transaction.atomic
def change_configuration(*, actor: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set `changes` (JSON values by name; None goes back to the default). Returns what changed.

    Raises AppError INVALID_INPUT naming every unknown or wrong field, or CONFLICT where the
    environment fixes one; then nothing is changed.
    """
    _refuse_unknown(changes)
    _refuse_fixed(changes)
    _refuse_wrong(changes)
    audit.lock_head()  # one change after the other, so that `before` is what this one replaces
    before = effective_values()
    for name, value in changes.items():
        if value is None:
            ConfigValue.objects.filter(name=name).delete()
            continue
        ConfigValue.objects.update_or_create(
            name=name,
            defaults={
                "value": FIELD_BY_NAME[name].kind.show(FIELD_BY_NAME[name].parse(value)),
                "updated_at": timezone.now(),
                "updated_by": actor.get_username() if actor else audit.SYSTEM,
            },
        )
    after = effective_values()
    changed = {name: after[name] for name in changes if after[name] != before[name]}
    if changed:
        audit.record(
            actor=actor,
            action=AuditAction.CONFIGURATION_CHANGED,
            target=None,
            before={name: before[name] for name in changed},
            after=changed,
        )
    transaction.on_commit(configuration.forget)
    return changed


def _refuse_unknown(changes: Mapping[str, Any]) -> None:
    problems = {}
    for name in changes:
        if name in FIXED_AT_START:
            problems[name] = f"is fixed at the start, by {FIXED_AT_START[name].variable}"
        elif name not in FIELD_BY_NAME:
            problems[name] = "Unknown field: it is refused rather than ignored."
    _refuse(problems)


def _refuse_fixed(changes: Mapping[str, Any]) -> None:
    for name in changes:
        if configuration.is_fixed_by_environment(name):
            variable = FIELD_BY_NAME[name].variable
            raise AppError(
                ErrorCode.CONFLICT,
                f"{name}: is set by the environment variable {variable}, which wins: change it there.",
                details=[{"field": name, "message": f"set by {variable}"}],
            )


def _refuse_wrong(changes: Mapping[str, Any]) -> None:
    problems = {}
    for name, value in changes.items():
        if value is None:
            continue
        try:
            typed = FIELD_BY_NAME[name].parse(value)
        except EnvError as error:
            # Its message begins with the name, which the answer says once.
            problems[name] = str(error).removeprefix(name).removeprefix(": ")
            continue
        complaint = _validators[name](typed) if name in _validators else None
        if complaint:
            problems[name] = complaint
    _refuse(problems)


def _refuse(problems: Mapping[str, str]) -> None:
    if problems:
        name, message = next(iter(problems.items()))
        raise AppError(
            ErrorCode.INVALID_INPUT,
            f"{name}{message}" if message.startswith("=") else f"{name}: {message}",
            details=[
                {"field": field, "message": text.removeprefix("=")}
                for field, text in problems.items()
            ],
        )
