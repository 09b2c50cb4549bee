"""Writes of limits: one transaction each, its audit row inside."""

from __future__ import annotations

from django.db import transaction

from accounts.limit_policies import forget_policies
from accounts.limit_subjects import find_subject, settable_limits
from accounts.models import UNLIMITED, LimitPolicy, User
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction

#: The largest value of a limit.
HIGHEST = 10**15


@transaction.atomic
def set_limits(*, actor: User | None, subject: str, **values: int | None) -> LimitPolicy:
    """Change the named limits of `role:<slug>`, `user:<name>`, `key:<prefix>` or `model:<slug>`.

    A value is a number from 0, -1 for no limit, or None to inherit again; limits that are not named
    stay. Every process takes them up within two seconds.

    Raises AppError NOT_FOUND for a subject that is not there, INVALID_INPUT for a limit that its
    kind does not have and for a value that is none.
    """
    found = find_subject(subject)
    settable = settable_limits(found.kind)
    for name, value in values.items():
        if name not in settable:
            message = f"{name}: is not a limit of a {found.kind}; those are {', '.join(settable)}"
            raise AppError(ErrorCode.INVALID_INPUT, message)
        if value is not None and not UNLIMITED <= value <= HIGHEST:
            message = f"{name}: must be a number from 0 to {HIGHEST}, -1 for no limit, or null"
            raise AppError(ErrorCode.INVALID_INPUT, message)
    policy, _ = LimitPolicy.objects.select_for_update().get_or_create(**found.where)
    before = {name: getattr(policy, name) for name in values}
    changed = sorted(name for name in values if before[name] != values[name])
    if not changed:
        return policy
    for name in changed:
        setattr(policy, name, values[name])
    policy.save(update_fields=changed)
    audit.record(
        actor=actor,
        action=AuditAction.LIMITS_CHANGED,
        target=policy,
        data={"subject": subject},
        before={name: before[name] for name in changed},
        after={name: values[name] for name in changed},
    )
    transaction.on_commit(forget_policies)
    return policy
