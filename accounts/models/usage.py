"""Tokens set aside for running jobs, and tokens used."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from accounts.models.api_keys import ApiKey
from accounts.models.users import User
from accounts.querysets import UsageDayQuerySet


class TokenReservation(models.Model):
    """What one live job may still use. Written with the job's row, removed with its settlement."""

    job_id = models.UUIDField(primary_key=True, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="reservations")
    api_key = models.ForeignKey(
        ApiKey, null=True, on_delete=models.CASCADE, related_name="reservations"
    )
    role_slug = models.CharField(max_length=32, db_index=True)
    model_slug = models.CharField(max_length=128, db_index=True)
    tokens = models.BigIntegerField()
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.tokens} tokens for job {self.job_id}"


class UsageDay(models.Model):
    """What one user used of one model in one day (UTC), by role of that time and by key.

    `key_prefix` is empty for use through the portal. The row outlives the account: it names it.
    """

    day = models.DateField()
    user = models.ForeignKey(
        User, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    username = models.CharField(max_length=150)
    role_slug = models.CharField(max_length=32)
    key_prefix = models.CharField(max_length=8, blank=True)
    model_slug = models.CharField(max_length=128)
    requests = models.BigIntegerField(default=0)
    failed_requests = models.BigIntegerField(default=0)
    prompt_tokens = models.BigIntegerField(default=0)
    completion_tokens = models.BigIntegerField(default=0)
    cached_tokens = models.BigIntegerField(default=0)

    objects = UsageDayQuerySet.as_manager()

    class Meta:
        ordering = ["-day", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["day", "user", "role_slug", "key_prefix", "model_slug"],
                name="one_usage_row_a_day",
            ),
        ]
        indexes = [
            models.Index(fields=["user", "day"], name="usage_user_day"),
            models.Index(fields=["key_prefix", "day"], name="usage_key_day"),
            models.Index(fields=["model_slug", "day"], name="usage_model_day"),
            models.Index(fields=["role_slug", "day"], name="usage_role_day"),
        ]

    def __str__(self) -> str:
        return f"{self.day} {self.username} {self.model_slug}"
