"""Settings that were changed while the portal runs."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ConfigValue(models.Model):
    """One setting's value, as JSON. The environment wins over it, it wins over the default."""

    name = models.CharField(max_length=64, primary_key=True)
    value = models.JSONField()
    updated_at = models.DateTimeField(default=timezone.now)
    updated_by = models.CharField(max_length=150)

    class Meta:
        ordering = ["name"]
        verbose_name = "configuration value"

    def __str__(self) -> str:
        return self.name
