"""What stays of a job's prompt and answer after its end, as owner, key and configuration want it.

The texts stay for a quarter of an hour whatever the policy says, as long as the job's stream does: until
then a caller may come back for the answer. Then a sweep in every worker removes what is due.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.retention import retention_of
from inference.models import InferenceJob, StoredResponse
from inference.stream import KEEP_AFTER_END
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.retention import Retention

#: Parameters that hold words of the caller's.
WORDED = ("stop", "grammar", "logit_bias")
_BATCH = 200
_READ = ("prompt", "params", "output", "end_user", "retention", "error_code", "error_message")
_REFUSED = "The input was refused; its owner reads why."


def public_error(code: str, message: str) -> str:
    """What others than the owner read of an error: one about the input may repeat words of it."""
    return _REFUSED if code in (ErrorCode.INVALID_INPUT, ErrorCode.PLUGIN_REFUSED) else message


def policies_of(job_ids: Iterable[UUID]) -> dict[UUID, Retention]:
    """The policy of each job, by its owner, its key and the configuration of now: one query."""
    rows = InferenceJob.objects.filter(pk__in=list(job_ids)).values_list(
        "pk", "owner__retention", "api_key__retention"
    )
    return {pk: retention_of(of_owner, of_key or "") for pk, of_owner, of_key in rows}


def kept_until(policy: Retention, finished_at: datetime) -> datetime | None:
    """When the texts of a job that ended then are due to go; None: never."""
    period = policy.period
    return None if period is None else finished_at + max(period, timedelta(seconds=KEEP_AFTER_END))


def remove_due(limit: int = 10_000) -> int:
    """Remove what is due, `limit` jobs at most; how many it was. Raises django.db.Error."""
    removed = 0
    while removed < limit:
        count = _remove_some(min(_BATCH, limit - removed))
        removed += count
        if count < _BATCH:
            break
    return removed


@transaction.atomic
def _remove_some(count: int) -> int:
    now = timezone.now()
    due = InferenceJob.objects.content_due(now)[:count]
    rows = list(due.only(*_READ))
    for row in rows:
        if row.retention == "hash":
            row.content_digests = {"prompt": _digest(row.prompt), "output": _digest(row.output)}
        row.prompt, row.output, row.answer, row.end_user = {}, "", None, ""
        row.params = {name: value for name, value in row.params.items() if name not in WORDED}
        row.error_message = public_error(row.error_code, row.error_message)
        row.content_until, row.content_removed_at = None, now
    StoredResponse.objects.filter(job__in=rows).delete()
    InferenceJob.objects.bulk_update(
        rows,
        [
            "prompt", "params", "output", "answer", "end_user", "error_message", "content_until",
            "content_removed_at", "content_digests",
        ],
    )  # fmt: skip
    return len(rows)


def _digest(content: Any) -> str:
    """SHA-256 in hex: of a text as UTF-8, of anything else as canonical JSON."""
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
