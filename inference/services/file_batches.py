"""Writes of batches of files: begun, ended before their time, and from state to state.

The row is the truth: each step is a conditional UPDATE, so that a second driver, or a cancellation in
between, finds its own step refused and looks again.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from inference import file_store
from inference.models import BatchLine, FileBatch, InferenceJob, StoredFile
from inference.services.cancellation import cancel_left_job
from inference.services.files import INPUT, OUTPUT, end_of_life
from inference.services.idempotency import CallKey, use_key
from inference.states import FILE_BATCH_TRANSITIONS, FileBatchState
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring.audit import record
from monitoring.audit_actions import AuditAction

logger = logging.getLogger(__name__)

#: How long a batch may take, as clients write it.
WINDOW = timedelta(hours=24)
#: Batches of one user that may be under way at once.
MAX_LIVE = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCall:
    """What a caller asks for, checked. `api_key` is None in a browser session."""

    owner: Any
    api_key: Any
    input_file: StoredFile
    endpoint: str
    metadata: Mapping[str, str] | None
    request_id: str


@transaction.atomic
def create_batch(call: BatchCall, key: CallKey | None = None) -> FileBatch:
    """Write the row, under the caller's key for this call where it has one; whoever rings begins it.

    Raises KeyIsUsedError, and AppError INVALID_INPUT for a file of another purpose, NOT_FOUND for one
    that has just been deleted, CONFLICT for too many batches at once.
    """
    named = use_key(key)[0] if key else None
    if call.input_file.purpose != INPUT:
        raise AppError(
            ErrorCode.INVALID_INPUT, f"input_file_id: Must be a file of the purpose '{INPUT}'."
        )
    # Its deletion takes the same lock, and looks for readers then.
    if not list(StoredFile.objects.select_for_update().filter(pk=call.input_file.pk).values("pk")):
        raise AppError(ErrorCode.NOT_FOUND, f"There is no file '{call.input_file}'.")
    if FileBatch.objects.live().filter(owner=call.owner).count() >= MAX_LIVE:
        raise AppError(
            ErrorCode.CONFLICT, f"{MAX_LIVE} of your batches are under way, which is the limit."
        )
    now = timezone.now()
    row = FileBatch.objects.create(
        owner=call.owner,
        api_key=call.api_key,
        is_by_key=call.api_key is not None,
        call=named,
        request_id=call.request_id,
        endpoint=call.endpoint,
        input_file=call.input_file,
        metadata=call.metadata,
        created_at=now,
        expires_at=now + WINDOW,
    )
    data = {"endpoint": row.endpoint, "input_file_id": str(call.input_file)}
    record(actor=call.owner, action=AuditAction.BATCH_CREATED, target=row, data=data)
    return row


def enter_state(batch: FileBatch, state: FileBatchState, **fields: Any) -> bool:
    """Take a step, with `fields`; False, with nothing written, where somebody has taken one meanwhile."""
    if state not in FILE_BATCH_TRANSITIONS[FileBatchState(batch.state)]:
        raise ValueError(f"a batch cannot go from {batch.state} to {state}")
    entered = {**batch.entered, str(state): int(time.time())}
    changed = FileBatch.objects.filter(pk=batch.pk, state=batch.state).update(
        state=state, entered=entered, **fields
    )
    batch.refresh_from_db()
    return bool(changed)


def cancel_batch(*, actor: Any, batch: FileBatch) -> None:
    """Begin its end: what runs is cancelled, what has ended is kept. One that is ending already stays.

    Raises AppError CONFLICT for one that has ended or is being completed.
    """
    with transaction.atomic():
        while batch.state in (FileBatchState.VALIDATING, FileBatchState.IN_PROGRESS):
            if enter_state(batch, FileBatchState.CANCELLING, ending=FileBatchState.CANCELLED):
                record(actor=actor, action=AuditAction.BATCH_CANCELLED, target=batch)
                break
        else:
            if batch.state != FileBatchState.CANCELLING:
                raise AppError(
                    ErrorCode.CONFLICT, f"A batch with status '{batch.state}' cannot be cancelled."
                )
            return
    cancel_lines(batch)


def end_early(batch: FileBatch, ending: FileBatchState, error: Mapping[str, Any] | None) -> None:
    """Take up no more lines and cancel those that run: the batch ends as `ending`."""
    errors = [*batch.errors, dict(error)] if error else batch.errors
    changed = FileBatch.objects.filter(
        pk=batch.pk, state=FileBatchState.IN_PROGRESS, ending=""
    ).update(ending=ending, errors=errors)
    batch.refresh_from_db()
    if changed:
        logger.info("batch %s: will end as %s", batch.pk, ending)
        cancel_lines(batch)


def cancel_lines(batch: FileBatch) -> None:
    """End the jobs that its lines still have. Raises django.db.Error."""
    live = InferenceJob.objects.live().filter(line_job__line__batch=batch)
    for job_id in live.order_by().values_list("pk", flat=True):
        cancel_left_job(str(job_id))


def fail_batch(batch: FileBatch, errors: Sequence[Mapping[str, Any]]) -> None:
    """What it shall read is no input: nothing of it runs."""
    enter_state(batch, FileBatchState.FAILED, errors=[dict(error) for error in errors])


def complete_batch(batch: FileBatch) -> bool:
    """Give the gathered results their names and rows; False where somebody else has done so.

    Begun again after a kill in the middle, it comes to the same files. Raises OSError.
    """
    batch = _name_results(batch)
    results = (
        ("output", batch.output_file_id, batch.output_bytes),
        ("errors", batch.error_file_id, batch.error_bytes),
    )
    rows = [_result_row(batch, kind, file_id, size) for kind, file_id, size in results if file_id]
    ending = FileBatchState(batch.ending or FileBatchState.COMPLETED)
    with transaction.atomic():
        if not enter_state(batch, ending):
            return False
        StoredFile.objects.bulk_create(rows)
        BatchLine.objects.filter(batch=batch).delete()
    file_store.discard_partials(batch.pk)
    return True


def _name_results(batch: FileBatch) -> FileBatch:
    """The ids stand in the row before a file has such a name: whoever goes on finds it again."""
    names = {
        "output_file_id": uuid.uuid4() if batch.output_bytes else None,
        "error_file_id": uuid.uuid4() if batch.error_bytes else None,
    }
    unnamed = FileBatch.objects.filter(pk=batch.pk, output_file_id=None, error_file_id=None)
    unnamed.update(**names)
    batch.refresh_from_db()
    return batch


def _result_row(batch: FileBatch, kind: str, file_id: uuid.UUID, size: int) -> StoredFile:
    now = timezone.now()
    partial = file_store.partial_path(batch.pk, kind)
    return StoredFile(
        id=file_id,
        owner_id=batch.owner_id,
        purpose=OUTPUT,
        filename=f"{batch}_{kind}.jsonl",
        num_bytes=size,
        sha256=file_store.publish_partial(partial, size, file_id),
        created_at=now,
        expires_at=end_of_life(now),
    )
