"""A job that asks to be let in: whose it is, what it may use, where its subjects' counts are found."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from accounts.balances import (
    Account,
    account_of_key,
    account_of_model,
    account_of_role,
    account_of_user,
)
from accounts.limit_policies import Limit, Policies, policies_of
from accounts.limit_subjects import SubjectKind
from accounts.models import ApiKey, User


@dataclass(frozen=True, slots=True)
class JobClaim:
    """What a job may come to use, and for whom. `tokens` counts prompt and answer together."""

    job_id: uuid.UUID
    user: User
    api_key: ApiKey | None
    model_slug: str
    tokens: int

    @property
    def policies(self) -> Policies:
        return policies_of(
            user_id=self.user.pk,
            role_id=self.user.role_id,
            key_id=self.api_key.pk if self.api_key else None,
            model_slug=self.model_slug,
        )

    @property
    def minute_limits(self) -> list[tuple[str, Limit]]:
        """The finite limits of tokens a minute, each with the name under which Redis counts."""
        key_id = self.api_key.pk if self.api_key else None
        return minute_limits(self.policies, self.user.pk, key_id, self.model_slug)

    def account(self, kind: SubjectKind) -> Account:
        """Where the balance of one of the job's subjects is found in the database."""
        match kind:
            case SubjectKind.USER:
                return account_of_user(self.user.pk)
            case SubjectKind.ROLE:
                return account_of_role(self.user.role.slug)
            case SubjectKind.MODEL:
                return account_of_model(self.model_slug)
        if self.api_key is None:
            raise ValueError("a job without a key has no key's limits")
        return account_of_key(self.api_key.pk, self.api_key.prefix)


def minute_limits(
    policies: Policies, user_id: int, key_id: int | None, model_slug: str
) -> list[tuple[str, Limit]]:
    """See `JobClaim.minute_limits`."""
    return [
        (minute_subject(limit.subject, user_id, key_id, model_slug), limit)
        for limit in policies.limits("tokens_per_minute")
        if limit.is_finite
    ]


def minute_subject(
    kind: SubjectKind, user_id: int, key_id: int | None = None, model_slug: str = ""
) -> str:
    """The name under which Redis counts the tokens of one of a job's subjects."""
    if kind is SubjectKind.MODEL:
        return f"model:{model_slug}"
    return f"key:{key_id}" if kind is SubjectKind.KEY else f"user:{user_id}"
