"""The audit log, its newest hash, and the seals of what was archived.

The log only grows: rows are neither changed nor removed, by the ORM (`AuditLogQuerySet`) or by SQL
(triggers, `monitoring/audit_guard.py`). Archiving is the one exception, and leaves a seal.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from monitoring.audit_actions import AuditAction, Outcome
from monitoring.querysets import AppendOnlyError, AuditLogQuerySet


def _choices(words: type[AuditAction] | type[Outcome]) -> list[tuple[str, str]]:
    return [(word.value, word.value) for word in words]


def action_choices() -> list[tuple[str, str]]:
    """A function, so that a new deed needs no migration."""
    return _choices(AuditAction)


def outcome_choices() -> list[tuple[str, str]]:
    return _choices(Outcome)


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
    actor_name = models.CharField(max_length=150, db_index=True)
    action = models.CharField(max_length=64, db_index=True, choices=action_choices)
    target_type = models.CharField(max_length=64)
    target_id = models.CharField(max_length=64)
    request_id = models.CharField(max_length=64, blank=True)
    key_prefix = models.CharField(max_length=8, blank=True, db_default="")
    ip = models.GenericIPAddressField(null=True)
    outcome = models.CharField(max_length=16, db_default="done", choices=outcome_choices)
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
        base_manager_name = "objects"
        verbose_name = "audit entry"
        verbose_name_plural = "audit log"
        indexes = [
            models.Index(fields=["target_type", "target_id"], name="audit_target"),
        ]

    def __str__(self) -> str:
        return (
            f"{self.created_at:%Y-%m-%d %H:%M:%S} {self.actor_name} {self.action} {self.target_id}"
        )

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise AppendOnlyError("audit rows are never changed")
        super().save(force_insert=True)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise AppendOnlyError("audit rows are never removed")


class AuditHead(models.Model):
    """The end of the log, in one row that writers lock to take their turn.

    `num_rows` counts all rows ever written, archived ones included. `signature` is over hash and
    count under the server's pepper: who can write to the database alone cannot move the end.
    """

    hash = models.CharField(max_length=64)
    num_rows = models.BigIntegerField(default=0)
    signature = models.CharField(max_length=64, blank=True)

    def __str__(self) -> str:
        return f"{self.num_rows}:{self.hash}"


class AuditSeal(models.Model):
    """A stretch of the log that was moved to a file: where it was in the chain, and what the file is.

    A row may leave the table only while a seal covers its id.
    """

    created_at = models.DateTimeField()
    first_id = models.BigIntegerField()
    last_id = models.BigIntegerField(unique=True)
    num_rows = models.BigIntegerField()
    previous_hash = models.CharField(max_length=64)
    last_hash = models.CharField(max_length=64)
    file_name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64)

    class Meta:
        ordering = ["last_id"]
        verbose_name = "audit seal"

    def __str__(self) -> str:
        return f"{self.file_name} ({self.num_rows} rows)"


class AuditVerification(models.Model):
    """What the last `manage.py audit_verify` found, in one row."""

    checked_at = models.DateTimeField()
    is_intact = models.BooleanField()
    num_rows = models.BigIntegerField()
    num_archived = models.BigIntegerField()
    problems = models.JSONField(default=list)
    head = models.CharField(max_length=64)

    def __str__(self) -> str:
        return f"{self.checked_at:%Y-%m-%d %H:%M} {'intact' if self.is_intact else 'broken'}"
