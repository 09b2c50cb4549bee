"""Tables of batches: many inputs of one call, each a job of its own or refused with a reason."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone

from inference.batch_querysets import BatchQuerySet


class Batch(models.Model):
    """What one call asked for. How far it is follows from its items' jobs and is kept nowhere else."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="batches"
    )
    api_key = models.ForeignKey(
        "accounts.ApiKey", null=True, on_delete=models.SET_NULL, related_name="+"
    )
    model = models.ForeignKey("inference.Model", on_delete=models.PROTECT, related_name="batches")
    call = models.OneToOneField(
        "inference.IdempotentCall", null=True, on_delete=models.SET_NULL, related_name="batch"
    )
    request_id = models.CharField(max_length=64)
    is_async = models.BooleanField(default=False, help_text="nobody waits for its answer")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    deadline_at = models.DateTimeField()
    cancelled_at = models.DateTimeField(null=True, help_text="when its end was asked for")

    objects = BatchQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]
        verbose_name_plural = "batches"
        indexes = [models.Index(fields=["owner", "-created_at"], name="batch_owner_created")]

    def __str__(self) -> str:
        return str(self.id)


class BatchItem(models.Model):
    """One input. `error_code` says why it was refused; else `job` has it, unless that was removed."""

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items")
    position = models.PositiveIntegerField(help_text="place in the call, from 0")
    custom_id = models.CharField(max_length=128, help_text="the caller's name for it")
    job = models.OneToOneField(
        "inference.InferenceJob", null=True, on_delete=models.SET_NULL, related_name="batch_item"
    )
    error_code = models.CharField(max_length=32, blank=True)
    error_message = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "position"], name="one_item_a_position"),
        ]

    def __str__(self) -> str:
        return f"{self.custom_id} of {self.batch_id}"
