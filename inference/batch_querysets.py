"""Reads of batches. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Count, Q

from inference.querysets import sees_all_jobs
from inference.states import JobState

if TYPE_CHECKING:
    from inference.batch_models import Batch  # noqa: F401  named in annotations below


class BatchQuerySet(models.QuerySet["Batch"]):
    def visible_to(self, user: Any, key: Any = None) -> BatchQuerySet:
        """One's own batches, and those of others for whom `sees_all_jobs` names, as with jobs."""
        return self if sees_all_jobs(user, key) else self.filter(owner=user)

    def without_jobs(self, moment: datetime) -> BatchQuerySet:
        """Those from before `moment` of whose jobs none is left."""
        old = self.filter(created_at__lt=moment).exclude(items__job__isnull=False)
        return old.order_by("created_at")

    def with_counts(self) -> BatchQuerySet:
        """Each with `num_items`, `num_refused` and, by state of their jobs, `num_queued` and so on."""
        by_state = {
            f"num_{state.value}": Count("items", filter=Q(items__job__state=state.value))
            for state in JobState
        }
        return self.annotate(
            num_items=Count("items"),
            num_refused=Count("items", filter=~Q(items__error_code="")),
            **by_state,
        )
