"""Writes of callers' files: one row for each, beside the bytes that `inference.file_store` keeps."""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from inference import file_store
from inference.file_store import Draft
from inference.models import FileBatch, StoredFile
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.audit import record
from monitoring.audit_actions import AuditAction
from monitoring.configuration import current

logger = logging.getLogger(__name__)

INPUT, OUTPUT = "batch", "batch_output"
# Nobody takes longer between the bytes and the row.
_STRAY_AGE = 3600.0


def store_file(
    *, owner: Any, draft: Draft, filename: str, purpose: str, lifetime: int | None
) -> StoredFile:
    """Keep a file that was received, for `lifetime` seconds where that ends before the configured days.

    Raises AppError CONFLICT where the owner has no room for it, BACKEND_UNAVAILABLE where the disk has
    none. Nothing stays then.
    """
    file_id, now = uuid.uuid4(), timezone.now()
    try:
        with transaction.atomic():
            # Two uploads at once must not both take the last room.
            list(User.objects.select_for_update(no_key=True).filter(pk=owner.pk).values("pk"))
            _check_room(owner, draft.num_bytes)
            draft.keep(file_id)
            row = StoredFile.objects.create(
                id=file_id,
                owner=owner,
                purpose=purpose,
                filename=filename,
                num_bytes=draft.num_bytes,
                sha256=draft.sha256,
                created_at=now,
                expires_at=end_of_life(now, lifetime),
            )
            record(
                actor=owner,
                action=AuditAction.FILE_STORED,
                target=row,
                data={"bytes": row.num_bytes},
            )
    except Exception:
        file_store.remove(file_id)
        raise
    return row


def end_of_life(created_at: datetime, lifetime: int | None = None) -> datetime:
    longest = timedelta(days=current().file_retention_days)
    return created_at + (longest if lifetime is None else min(longest, timedelta(seconds=lifetime)))


def _check_room(owner: Any, num_bytes: int) -> None:
    number, size = StoredFile.objects.filter(owner=owner).totals()
    config = current()
    if number >= config.max_user_files:
        raise AppError(
            ErrorCode.CONFLICT,
            f"You have {number} files here, which is the limit (LLAMA_MAX_USER_FILES): delete some.",
        )
    if size + num_bytes > config.max_user_file_bytes:
        raise AppError(
            ErrorCode.CONFLICT,
            f"Your files here have {size} bytes; with this one they would pass the limit of "
            f"{config.max_user_file_bytes} (LLAMA_MAX_USER_FILE_BYTES): delete some.",
        )


def delete_file(*, actor: Any, row: StoredFile) -> None:
    """Remove a file at once. Raises AppError CONFLICT while a batch reads it."""
    with transaction.atomic():
        # A batch that comes in at this moment locks the same row first.
        list(StoredFile.objects.select_for_update().filter(pk=row.pk).values("pk"))
        if reader := FileBatch.objects.live().filter(input_file_id=row.pk).first():
            raise AppError(
                ErrorCode.CONFLICT, f"{reader} reads this file: cancel it, or wait for its end."
            )
        record(actor=actor, action=AuditAction.FILE_DELETED, target=row)
        StoredFile.objects.filter(pk=row.pk).delete()
    file_store.remove(row.pk)


def remove_due_files(limit: int = 500) -> int:
    """Remove what has reached its end, `limit` files at most; how many it was.

    Raises django.db.Error and OSError.
    """
    due = list(StoredFile.objects.due(timezone.now()).values_list("pk", flat=True)[:limit])
    StoredFile.objects.filter(pk__in=due).delete()
    for file_id in due:
        file_store.remove(file_id)
    return len(due)


def remove_strays() -> int:
    """Remove what killed processes have left behind; how many files it was.

    Raises django.db.Error and OSError.
    """
    removed = file_store.remove_old_drafts(_STRAY_AGE)
    old = set(file_store.old_file_ids(_STRAY_AGE))
    live = FileBatch.objects.live()
    if old:
        pairs = live.values_list("output_file_id", "error_file_id")
        old -= {file_id for pair in pairs for file_id in pair}
        old -= set(StoredFile.objects.values_list("pk", flat=True))
    for file_id in old:
        logger.warning("a file without a row was removed: %s", file_id)
        file_store.remove(file_id)
    over = file_store.partial_batch_ids() - set(live.values_list("pk", flat=True))
    for batch_id in over:
        file_store.discard_partials(batch_id)
    return removed + len(old) + len(over)
