"""Measured figures over time: few rows, each of which holds many figures."""

from __future__ import annotations

from django.db import models

from monitoring.metric_querysets import MetricSampleQuerySet


class MetricSample(models.Model):
    """What was measured of one node, or of the cluster (""), in one bucket of time.

    Only `monitoring.services.history` writes rows. `figures` and `details` are packed by
    `monitoring.history`; `start` and `written_at` are Unix seconds.
    """

    node = models.CharField(max_length=64, blank=True)
    resolution = models.PositiveSmallIntegerField(help_text="seconds of the bucket")
    start = models.BigIntegerField()
    written_at = models.BigIntegerField()
    covered = models.FloatField(help_text="seconds of the bucket that were watched")
    figures = models.BinaryField()
    details = models.BinaryField(null=True)

    objects = MetricSampleQuerySet.as_manager()

    class Meta:
        ordering = ["start"]
        constraints = [
            models.UniqueConstraint(
                fields=["resolution", "start", "node"], name="one_sample_a_bucket"
            )
        ]
        # Where roll-ups find what is new.
        indexes = [models.Index(fields=["resolution", "written_at"], name="sample_written")]

    def __str__(self) -> str:
        return f"{self.node or 'cluster'} {self.start} ({self.resolution} s)"
