"""Reads of the history of figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from monitoring.models import MetricSample  # noqa: F401  named in the annotations below


class MetricSampleQuerySet(models.QuerySet["MetricSample"]):
    def visible_to(self, user: Any) -> MetricSampleQuerySet:
        """All of it for who may read monitoring data; nothing for others."""
        return self if user.can(Resource.MONITORING, Action.READ) else self.none()

    def between(self, resolution: int, start: int, end: int) -> MetricSampleQuerySet:
        """The buckets of one length that begin from `start` up to before `end`."""
        return self.filter(resolution=resolution, start__gte=start, start__lt=end)

    def written_since(self, resolution: int, moment: int) -> MetricSampleQuerySet:
        return self.filter(resolution=resolution, written_at__gte=moment)

    def of_node(self, node: str | None) -> MetricSampleQuerySet:
        """Those of one node, and of the cluster; None is every node."""
        return self if node is None else self.filter(node__in=["", node])
