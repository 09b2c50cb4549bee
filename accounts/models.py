"""Tables of who may do what."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.utils import timezone

from accounts.querysets import ApiKeyQuerySet
from llamagpu.http.permissions import Action, Resource, Scope

ADMIN_ROLE = "admin"
GUEST_ROLE = "guest"


class Role(models.Model):
    """A named set of rights. The four seeded ones are built in and cannot be deleted."""

    slug = models.SlugField(unique=True, max_length=32)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=200, blank=True)
    is_builtin = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.name


class RolePermission(models.Model):
    """One cell of the permission matrix: what a role may do with a resource."""

    role = models.ForeignKey(Role, on_delete=models.CASCADE, related_name="permissions")
    resource = models.CharField(
        max_length=32, choices=[(item.value, item.value.replace("_", " ")) for item in Resource]
    )
    can_read = models.BooleanField(default=False)
    can_write = models.BooleanField(default=False)

    class Meta:
        ordering = ["role_id", "id"]
        constraints = [
            models.UniqueConstraint(fields=["role", "resource"], name="one_cell_per_resource"),
        ]

    def __str__(self) -> str:
        rights = ("R" if self.can_read else "") + ("W" if self.can_write else "") or "-"
        return f"{self.role}: {self.resource} {rights}"


class RoleUserManager(UserManager["User"]):
    """Makes users that always have a role: the least one unless another is named."""

    def _with_role(self, slug: str, fields: dict[str, Any]) -> dict[str, Any]:
        if fields.get("role") is None:
            fields["role"] = Role.objects.get(slug=slug)
        return fields

    def create_user(self, username: str, *args: Any, **fields: Any) -> User:
        return super().create_user(username, *args, **self._with_role(GUEST_ROLE, fields))

    def create_superuser(self, username: str, *args: Any, **fields: Any) -> User:
        return super().create_superuser(username, *args, **self._with_role(ADMIN_ROLE, fields))


class User(AbstractUser):
    """A person or a program with exactly one role."""

    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="users")

    objects: ClassVar[RoleUserManager] = RoleUserManager()

    def can(self, resource: Resource, action: Action) -> bool:
        """Whether the role grants it now. Inactive users may do nothing."""
        if not self.is_active:
            return False
        cell = next((row for row in self.role.permissions.all() if row.resource == resource), None)
        if cell is None:
            return False
        return cell.can_write if action is Action.WRITE else cell.can_read


class ApiKey(models.Model):
    """A key that acts for its owner. Only its prefix and its digest are kept."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=8, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    scopes = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"lg_{self.prefix}_… ({self.name})"

    @property
    def is_usable(self) -> bool:
        """Neither revoked nor past its expiry."""
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired

    def has_scope(self, scope: Scope) -> bool:
        """An empty list means: all that the owner may do."""
        return not self.scopes or scope in self.scopes
