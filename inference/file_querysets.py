"""Reads of files and of batches of files. Each read for a caller starts with `visible_to(user)`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Count, Sum

from inference.states import LIVE_FILE_BATCH_STATES
from llamagpu.http.permissions import Action, Resource

if TYPE_CHECKING:
    from inference.file_models import FileBatch, StoredFile  # noqa: F401  named in annotations below


class StoredFileQuerySet(models.QuerySet["StoredFile"]):
    def visible_to(self, user: Any) -> StoredFileQuerySet:
        """One's own, whoever one is: files hold prompts and answers."""
        return self.filter(owner=user) if _may_infer(user) else self.none()

    def totals(self) -> tuple[int, int]:
        """How many, and their bytes together."""
        found = self.aggregate(number=Count("id"), size=Sum("num_bytes"))
        return found["number"], found["size"] or 0

    def due(self, moment: datetime) -> StoredFileQuerySet:
        """Those that are to go by then and that no batch has to read any more."""
        busy = _live_batches().values("input_file_id")
        return self.filter(expires_at__lte=moment).exclude(pk__in=busy)


class FileBatchQuerySet(models.QuerySet["FileBatch"]):
    def visible_to(self, user: Any) -> FileBatchQuerySet:
        """One's own, whoever one is."""
        return self.filter(owner=user) if _may_infer(user) else self.none()

    def live(self) -> FileBatchQuerySet:
        return self.filter(state__in=LIVE_FILE_BATCH_STATES)

    def prunable(self, moment: datetime) -> FileBatchQuerySet:
        """Those that ended before `moment`, oldest first: none runs on when its time is up."""
        old = self.filter(created_at__lt=moment, expires_at__lt=moment)
        return old.exclude(state__in=LIVE_FILE_BATCH_STATES).order_by("created_at")


def _may_infer(user: Any) -> bool:
    return bool(user.can(Resource.INFERENCE, Action.READ))


def _live_batches() -> FileBatchQuerySet:
    from inference.file_models import FileBatch  # which names the classes above

    return FileBatch.objects.live()
