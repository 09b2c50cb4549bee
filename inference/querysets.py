"""Reads of models and jobs. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models

from inference.states import LIVE_JOB_STATES, JobState, ModelState
from llamagpu.http.permissions import WRITE_SYSTEM, Action, Resource, allows

if TYPE_CHECKING:
    from inference.models import InferenceJob, Model  # noqa: F401  named in annotations below

#: Filters of jobs by name, each with the condition that it sets.
JOB_FILTERS = {
    "state": "state__in",
    "model": "model__slug",
    "request_id": "request_id",
    "since": "created_at__gte",
    "until": "created_at__lt",
    "user": "owner__username",
    "key": "api_key__prefix",
    "is_streamed": "is_streamed",
    "batch": "batch_item__batch",
}


class ModelQuerySet(models.QuerySet["Model"]):
    def visible_to(self, user: Any) -> ModelQuerySet:
        """All models for who may read models, else none; without those that were deleted."""
        return self.known() if sees_models(user) else self.none()

    def known(self) -> ModelQuerySet:
        """Without those that were deleted."""
        return self.exclude(state=ModelState.REMOVED)

    def allowed_by(self, key: Any) -> ModelQuerySet:
        """Narrowed to the models that `key` lists; not narrowed by a session (None) or an open key."""
        if key is None or not key.allowed_models:
            return self
        return self.filter(slug__in=key.allowed_models)

    def available(self) -> ModelQuerySet:
        return self.filter(state=ModelState.AVAILABLE)

    def servable(self) -> ModelQuerySet:
        """What lies on the disk and is not disabled."""
        return self.available().filter(is_enabled=True)


def sees_models(user: Any) -> bool:
    return bool(user.can(Resource.MODELS, Action.READ))


def sees_all_jobs(user: Any, key: Any = None) -> bool:
    """Whether `user`, calling with `key` (None for a session), sees what others have asked for."""
    return allows(WRITE_SYSTEM, user, key)


class InferenceJobQuerySet(models.QuerySet["InferenceJob"]):
    def visible_to(self, user: Any, key: Any = None) -> InferenceJobQuerySet:
        """One's own jobs; those of everybody for who may write the system configuration.

        With a key that may not do so, its owner's jobs alone.
        """
        return self if sees_all_jobs(user, key) else self.filter(owner=user)

    def matching(self, filters: Mapping[str, Any]) -> InferenceJobQuerySet:
        """Those for which all of `filters` hold; the names are those of `JOB_FILTERS`."""
        wanted = {JOB_FILTERS[name]: value for name, value in filters.items()}
        return self.filter(**wanted)

    def live(self) -> InferenceJobQuerySet:
        return self.filter(state__in=LIVE_JOB_STATES)

    def finished_since(self, moment: datetime) -> InferenceJobQuerySet:
        return self.filter(finished_at__gte=moment)

    def content_due(self, moment: datetime) -> InferenceJobQuerySet:
        """Those whose texts are not to be kept beyond `moment`, oldest first."""
        return self.filter(content_until__lte=moment).order_by("content_until")

    def without_content(self) -> InferenceJobQuerySet:
        """The rows without what was asked and answered, which may be long."""
        return self.defer("prompt", "params", "output", "answer", "content_digests")

    def prunable(self, moment: datetime) -> InferenceJobQuerySet:
        """Those that ended before `moment`, oldest first, but what a file of answers waits for."""
        # What ended before it was made before it: the index on `created_at` finds few rows.
        old = self.filter(created_at__lt=moment, finished_at__lt=moment, line_job=None)
        return old.exclude(state__in=LIVE_JOB_STATES).order_by("created_at")

    def succeeded(self) -> InferenceJobQuerySet:
        return self.filter(state=JobState.SUCCEEDED)
