"""Whose limits: `role:operator`, `user:alice`, `key:abcd1234`, `model:smollm2-135m-instruct`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from accounts.models import ApiKey, LimitPolicy, Role, User
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode


class SubjectKind(StrEnum):
    ROLE = "role"
    USER = "user"
    KEY = "key"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Subject:
    """`where` finds, or makes, the subject's row of limits."""

    kind: SubjectKind
    name: str
    where: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


_RATES = ("inference_per_minute", "batch_per_minute", "plugins_per_minute", "system_per_minute")
_TOKENS = ("tokens_per_minute", "concurrent_jobs", "daily_tokens", "monthly_tokens")
_POOL = ("pool_daily_tokens", "pool_monthly_tokens")
#: Every limit that a row can hold.
LIMIT_NAMES = (*_RATES, *_TOKENS, *_POOL)


def settable_limits(kind: SubjectKind) -> tuple[str, ...]:
    """The limits that such a subject can have: a pool is a role's, request rates are callers'."""
    if kind is SubjectKind.ROLE:
        return LIMIT_NAMES
    return _TOKENS if kind is SubjectKind.MODEL else (*_RATES, *_TOKENS)


def find_subject(text: str) -> Subject:
    """The subject that `text` names. Raises AppError NOT_FOUND.

    A model need not be here yet: its limits may be set before it is registered.
    """
    kind, _, name = text.partition(":")
    if "\x00" in name:  # PostgreSQL cannot even look for it
        kind = ""
    match kind:
        case SubjectKind.ROLE:
            row: Any = Role.objects.filter(slug=name).first()
            where = {"role": row}
        case SubjectKind.USER:
            row = User.objects.filter(username=name).first()
            where = {"user": row}
        case SubjectKind.KEY:
            row = ApiKey.objects.filter(prefix=name).first()
            where = {"api_key": row}
        case SubjectKind.MODEL:
            row = name if 0 < len(name) <= 128 else None
            where = {"model_slug": row}
        case _:
            row, where = None, {}
    if row is None:
        message = (
            f"There is nothing with limits called '{text}': subjects are role:<slug>, "
            "user:<name>, key:<prefix> and model:<slug>."
        )
        raise AppError(ErrorCode.NOT_FOUND, message)
    return Subject(SubjectKind(kind), name, where)


def subject_of(policy: LimitPolicy) -> str:
    """The name under which `find_subject` finds the owner of these limits."""
    kind, _, name = policy.subject.partition(" ")
    return f"{kind}:{name}"
