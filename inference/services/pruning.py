"""Removes what ended long ago, where the configuration says how long it may stay."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.utils import timezone

from inference.models import Batch, FileBatch, InferenceJob
from monitoring.configuration import current

# Few enough that whoever waits for the database hardly notices.
_BATCH = 200


def prune_history(limit: int = 10_000) -> int:
    """Remove jobs and batches that ended before `job_history_days`; at most `limit`, how many it was.

    What was used stands in the usage, which stays. Raises django.db.Error.
    """
    days = current().job_history_days
    if days == 0:
        return 0
    moment = timezone.now() - timedelta(days=days)
    removed = 0
    for remove in (_remove_jobs, _remove_batches, _remove_file_batches):
        while removed < limit:
            count = remove(moment, min(_BATCH, limit - removed))
            removed += count
            if count == 0:
                break
    return removed


@transaction.atomic
def _remove_jobs(moment: datetime, count: int) -> int:
    """Their attempts go with them; items of batches stay and say that they were removed."""
    ids = list(InferenceJob.objects.prunable(moment).values_list("pk", flat=True)[:count])
    InferenceJob.objects.filter(pk__in=ids).delete()
    return len(ids)


@transaction.atomic
def _remove_batches(moment: datetime, count: int) -> int:
    """Those of whose jobs none is left."""
    ids = list(Batch.objects.without_jobs(moment).values_list("pk", flat=True)[:count])
    Batch.objects.filter(pk__in=ids).delete()
    return len(ids)


@transaction.atomic
def _remove_file_batches(moment: datetime, count: int) -> int:
    """Their files stay for as long as files do."""
    ids = list(FileBatch.objects.prunable(moment).values_list("pk", flat=True)[:count])
    FileBatch.objects.filter(pk__in=ids).delete()
    return len(ids)
