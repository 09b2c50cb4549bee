"""Roles and the cells of the permission matrix."""

from __future__ import annotations

from django.db import models

from accounts.querysets import RoleQuerySet
from llamagpu.http.permissions import Resource

ADMIN_ROLE = "admin"
GUEST_ROLE = "guest"


class Role(models.Model):
    """A named set of rights. The four seeded ones are built in and cannot be deleted.

    The Admin role always has every right: it is what keeps the server administrable.
    """

    slug = models.SlugField(unique=True, max_length=32)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=200, blank=True)
    is_builtin = models.BooleanField(default=False, editable=False)

    objects = RoleQuerySet.as_manager()

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
            models.CheckConstraint(
                condition=models.Q(can_read=True) | models.Q(can_write=False),
                name="who_may_write_may_read",
            ),
        ]

    def __str__(self) -> str:
        rights = ("R" if self.can_read else "") + ("W" if self.can_write else "") or "-"
        return f"{self.role}: {self.resource} {rights}"
