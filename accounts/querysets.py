"""Reads of accounts. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from accounts.models import ApiKey, User  # noqa: F401  named in the annotations below


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
