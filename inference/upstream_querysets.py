"""Reads of upstreams: their addresses are for who may manage models, not for who may use them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models

from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from inference.upstream_models import Upstream  # noqa: F401  named in an annotation below


class UpstreamQuerySet(models.QuerySet["Upstream"]):
    def visible_to(self, user: Any) -> UpstreamQuerySet:
        """All for who may write models, else none."""
        return self if user.can(Resource.MODELS, Action.WRITE) else self.none()
