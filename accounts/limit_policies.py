"""The limits that hold for a caller, and where each comes from.

A user's value stands before its role's, that before the system configuration's. A key's and a
model's own values hold besides. Rows are remembered for two seconds in each process, since every
request asks for them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from django.db.models import Q

from accounts.limit_subjects import SubjectKind
from accounts.models import UNLIMITED, LimitPolicy
from monitoring.configuration import current

#: Seconds for which a process may go on with limits that have been changed elsewhere.
LIFETIME = 2.0
_MAX_REMEMBERED = 10_000

#: What the system configuration calls its defaults; a pool or a model has none.
_CONFIGURED = {
    "inference_per_minute": "rate_inference",
    "batch_per_minute": "rate_batch",
    "plugins_per_minute": "rate_plugins",
    "system_per_minute": "rate_system",
    "tokens_per_minute": "tokens_per_minute",
    "concurrent_jobs": "concurrent_jobs",
    "daily_tokens": "daily_tokens",
    "monthly_tokens": "monthly_tokens",
}


@dataclass(frozen=True, slots=True)
class Limit:
    """`value` of the limit `name` for one subject; `source` says whose row or what set it."""

    name: str
    subject: SubjectKind
    value: int
    source: str

    @property
    def is_finite(self) -> bool:
        return self.value != UNLIMITED


@dataclass(frozen=True, slots=True)
class Policies:
    """The rows that bear on one caller (and one model); None where a subject has none."""

    role: LimitPolicy | None = None
    user: LimitPolicy | None = None
    key: LimitPolicy | None = None
    model: LimitPolicy | None = None

    def limits(self, name: str) -> Iterator[Limit]:
        """The caller's limit `name`, then those of key and model where they have their own.

        Of a pool, the role's alone.
        """
        if name not in _CONFIGURED:
            pool = getattr(self.role, name, None)
            yield Limit(name, SubjectKind.ROLE, UNLIMITED if pool is None else pool, "role")
            return
        yield self._of_caller(name)
        for kind, policy in ((SubjectKind.KEY, self.key), (SubjectKind.MODEL, self.model)):
            value = getattr(policy, name, None)
            if value is not None:
                yield Limit(name, kind, value, str(kind))

    def _of_caller(self, name: str) -> Limit:
        for source, policy in (("user", self.user), ("role", self.role)):
            value = getattr(policy, name, None)
            if value is not None:
                return Limit(name, SubjectKind.USER, value, source)
        value = getattr(current(), _CONFIGURED[name])
        return Limit(name, SubjectKind.USER, value, "configuration")


_Key = tuple[int, int, int | None, str]
_remembered: dict[_Key, tuple[float, Policies]] = {}


def policies_of(
    *, user_id: int, role_id: int, key_id: int | None = None, model_slug: str = ""
) -> Policies:
    """The rows of these subjects, at most `LIFETIME` seconds old."""
    key = (user_id, role_id, key_id, model_slug)
    found = _remembered.get(key)
    now = time.monotonic()
    if found is not None and found[0] > now:
        return found[1]
    policies = _read(*key)
    if len(_remembered) >= _MAX_REMEMBERED:
        _remembered.clear()
    _remembered[key] = (now + LIFETIME, policies)
    return policies


def forget_policies() -> None:
    """Have this process read every row anew."""
    _remembered.clear()


def _read(user_id: int, role_id: int, key_id: int | None, model_slug: str) -> Policies:
    wanted = Q(user_id=user_id) | Q(role_id=role_id)
    if key_id is not None:
        wanted |= Q(api_key_id=key_id)
    if model_slug:
        wanted |= Q(model_slug=model_slug)
    found: dict[str, LimitPolicy] = {}
    for policy in LimitPolicy.objects.filter(wanted):
        if policy.role_id is not None:
            found["role"] = policy
        elif policy.user_id is not None:
            found["user"] = policy
        elif policy.api_key_id is not None:
            found["key"] = policy
        else:
            found["model"] = policy
    return Policies(**found)
