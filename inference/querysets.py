"""Reads of models and jobs. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models

from inference.states import LIVE_JOB_STATES, JobState, ModelState
from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from inference.models import InferenceJob, Model  # noqa: F401  named in annotations below


class ModelQuerySet(models.QuerySet["Model"]):
    def visible_to(self, user: Any) -> ModelQuerySet:
        """All models for who may read models, else none; without those that were deleted."""
        return self.known() if user.can(Resource.MODELS, Action.READ) else self.none()

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


class InferenceJobQuerySet(models.QuerySet["InferenceJob"]):
    def visible_to(self, user: Any) -> InferenceJobQuerySet:
        """One's own jobs; those of everybody for who may write the system configuration."""
        if user.can(Resource.SYSTEM_CONFIG, Action.WRITE):
            return self
        return self.filter(owner=user)

    def live(self) -> InferenceJobQuerySet:
        return self.filter(state__in=LIVE_JOB_STATES)

    def finished_since(self, moment: datetime) -> InferenceJobQuerySet:
        return self.filter(finished_at__gte=moment)

    def content_due(self, moment: datetime) -> InferenceJobQuerySet:
        """Those whose texts are not to be kept beyond `moment`, oldest first."""
        return self.filter(content_until__lte=moment).order_by("content_until")

    def succeeded(self) -> InferenceJobQuerySet:
        return self.filter(state=JobState.SUCCEEDED)
