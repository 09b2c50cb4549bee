"""People and programs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.utils.crypto import salted_hmac

from accounts.models.roles import ADMIN_ROLE, GUEST_ROLE, Role
from accounts.querysets import UserQuerySet
from llamagpu.http.permissions import Action, Resource


class RoleUserManager(UserManager["User"]):
    """Makes users that always have a role: the least one unless another is named."""

    def get_queryset(self) -> UserQuerySet:
        return UserQuerySet(self.model, using=self._db)

    def visible_to(self, user: Any) -> UserQuerySet:
        return self.get_queryset().visible_to(user)

    def create_user(self, username: str, *args: Any, **fields: Any) -> User:
        return self._make(GUEST_ROLE, username, *args, **fields)

    def create_superuser(self, username: str, *args: Any, **fields: Any) -> User:
        return self._make(ADMIN_ROLE, username, *args, **fields)

    def _make(
        self,
        least: str,
        username: str,
        email: str | None = None,
        password: str | None = None,
        **fields: Any,
    ) -> User:
        fields["role"] = fields.get("role") or Role.objects.get(slug=least)
        user = self.model(
            username=self.model.normalize_username(username),
            email=self.normalize_email(email),
            **fields,
        )
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractUser):
    """A person or a program with exactly one role, the only source of its rights.

    Django's own flags, groups and permissions are not kept: what Django admin shows follows from the
    role as everything else does (`accounts.backends.RoleBackend`).
    """

    groups = None  # type: ignore[assignment]
    user_permissions = None  # type: ignore[assignment]
    is_superuser = False

    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="users")
    session_epoch = models.PositiveIntegerField(
        default=0, editable=False, help_text="raised to end all sessions of this user"
    )

    retention = models.CharField(
        max_length=8,
        blank=True,
        help_text="what is kept of jobs after their end: full, 30d and so on, hash, none; "
        "empty: as the system configuration says",
    )

    objects: ClassVar[RoleUserManager] = RoleUserManager()

    @property
    def is_staff(self) -> bool:  # type: ignore[override]
        """Whether Django admin opens: for who may read the system configuration."""
        return self.can(Resource.SYSTEM_CONFIG, Action.READ)

    def can(self, resource: Resource, action: Action) -> bool:
        """Whether the role grants it now. Inactive users may do nothing."""
        if not self.is_active:
            return False
        cell = next((row for row in self.role.permissions.all() if row.resource == resource), None)
        if cell is None:
            return False
        return cell.can_write if action is Action.WRITE else cell.can_read

    def get_session_auth_hash(self) -> str:
        """A session ends when this changes: with the password, or when the epoch is raised."""
        return self._epoch_hash(None)

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        for secret in settings.SECRET_KEY_FALLBACKS:
            yield self._epoch_hash(secret)

    def _epoch_hash(self, secret: str | None) -> str:
        content = f"{self.password}.{self.session_epoch}"
        return salted_hmac(
            "accounts.User.session", content, secret=secret, algorithm="sha256"
        ).hexdigest()
