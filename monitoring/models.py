"""Tables of what happened. The audit log only grows: rows are neither changed nor removed."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models


class AppendOnlyError(Exception):
    """Somebody tried to change or remove an audit row."""


class AuditLogQuerySet(models.QuerySet["AuditLog"]):
    def update(self, **kwargs: Any) -> int:
        raise AppendOnlyError("audit rows are never changed")

    def delete(self) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("audit rows are never removed")


class AuditLog(models.Model):
    """One deed. Each row's hash covers the row before it, so a gap or a change shows.

    The actor is kept by id and by name: the row outlives the account.
    """

    created_at = models.DateTimeField(db_index=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        related_name="+",
    )
    actor_name = models.CharField(max_length=150)
    action = models.CharField(max_length=64, db_index=True)
    target_type = models.CharField(max_length=64)
    target_id = models.CharField(max_length=64)
    request_id = models.CharField(max_length=64, blank=True)
    key_prefix = models.CharField(max_length=8, blank=True, db_default="")
    ip = models.GenericIPAddressField(null=True)
    outcome = models.CharField(max_length=16, db_default="done")
    target_name = models.CharField(max_length=200, blank=True, db_default="")
    data = models.JSONField(default=dict)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    # Rows from before key, address and outcome were kept have 1: their hash does not cover them.
    hash_version = models.PositiveSmallIntegerField(default=2, db_default=1)
    previous_hash = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    objects = AuditLogQuerySet.as_manager()

    class Meta:
        ordering = ["id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"

    def __str__(self) -> str:
        return (
            f"{self.created_at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.target_id}"
        )

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError("audit rows are never changed")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("audit rows are never removed")


class AuditHead(models.Model):
    """The newest hash of the audit log, in one row that writers lock to take their turn."""

    hash = models.CharField(max_length=64)

    def __str__(self) -> str:
        return self.hash
