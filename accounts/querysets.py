"""Reads of accounts. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from django.utils import timezone

from accounts.api_keys import PREFIX_LENGTH
from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from accounts.models import ApiKey, LimitPolicy, Role, UsageDay, User  # noqa: F401  named in the annotations below

_ID_DIGITS = 18  # what a 64-bit id surely holds


class RoleQuerySet(models.QuerySet["Role"]):
    def visible_to(self, user: Any) -> RoleQuerySet:
        """One's own role; all of them for who may read the system configuration."""
        if user.can(Resource.SYSTEM_CONFIG, Action.READ):
            return self
        return self.filter(pk=user.role_id)

    def with_matrix(self) -> RoleQuerySet:
        """With the cells at hand and `num_users`, the number of users who have the role."""
        return self.prefetch_related("permissions").annotate(
            num_users=models.Count("users", distinct=True)
        )


class UserQuerySet(models.QuerySet["User"]):
    def visible_to(self, user: Any) -> UserQuerySet:
        """Oneself; everybody for who may read the system configuration."""
        if user.can(Resource.SYSTEM_CONFIG, Action.READ):
            return self
        return self.filter(pk=user.pk)

    def with_rights(self) -> UserQuerySet:
        """Ready for a rights decision without further queries."""
        return self.select_related("role").prefetch_related("role__permissions")


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def visible_to(self, user: Any) -> ApiKeyQuerySet:
        """One's own keys; all of them for who may write the system configuration."""
        if user.can(Resource.SYSTEM_CONFIG, Action.WRITE):
            return self
        return self.filter(user=user)

    def with_owner(self) -> ApiKeyQuerySet:
        """Ready for a rights decision without further queries."""
        return self.select_related("user__role").prefetch_related("user__role__permissions")

    def with_relatives(self) -> ApiKeyQuerySet:
        """Ready to be described: with owner, predecessor and successor."""
        return self.select_related("user", "replaces", "successor")

    def named(self, reference: str) -> ApiKeyQuerySet:
        """The key whose prefix or id is `reference`; a text that is neither finds none."""
        if not (reference.isascii() and reference.isalnum()):
            return self.none()
        if len(reference) == PREFIX_LENGTH:
            by_prefix = self.filter(prefix=reference)
            if not reference.isdecimal() or by_prefix.exists():
                return by_prefix
        is_id = reference.isdecimal() and len(reference) <= _ID_DIGITS
        return self.filter(pk=int(reference)) if is_id else self.none()

    def in_state(self, state: str) -> ApiKeyQuerySet:
        """Those whose `state` is `usable`, `revoked` or `expired`."""
        if state == "revoked":
            return self.exclude(revoked_at=None)
        unrevoked, now = self.filter(revoked_at=None), timezone.now()
        if state == "expired":
            return unrevoked.filter(expires_at__lte=now)
        return unrevoked.filter(models.Q(expires_at=None) | models.Q(expires_at__gt=now))


class LimitPolicyQuerySet(models.QuerySet["LimitPolicy"]):
    def visible_to(self, user: Any) -> LimitPolicyQuerySet:
        """All for who may read the system configuration, else none."""
        return self if user.can(Resource.SYSTEM_CONFIG, Action.READ) else self.none()

    def with_subjects(self) -> LimitPolicyQuerySet:
        """Ready to be named without further queries."""
        return self.select_related("role", "user", "api_key")


class UsageDayQuerySet(models.QuerySet["UsageDay"]):
    def visible_to(self, user: Any) -> UsageDayQuerySet:
        """One's own usage; everybody's for who may read the system configuration."""
        if user.can(Resource.SYSTEM_CONFIG, Action.READ):
            return self
        return self.filter(user=user)
