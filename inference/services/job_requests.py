"""What people ask of a single job: its end, and an Admin the texts of somebody else's."""

from __future__ import annotations

from typing import Any

from django.db import transaction

from inference.job_contents import policies_of
from inference.models import InferenceJob
from inference.services.cancellation import CANCELLED, cancel_job
from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from llamagpu.lib.retention import Retention
from monitoring import audit
from monitoring.audit_actions import AuditAction, Outcome
from monitoring.configuration import current

_BY_ADMIN = "The job was cancelled by an Admin."


def cancel_on_request(*, actor: Any, job: InferenceJob) -> bool:
    """End a job that has not ended; whether it has now. One that has ended stays as it is.

    Somebody else's than `actor`'s is noted in the audit log first. Raises AppError
    BACKEND_UNAVAILABLE.
    """
    if job.finished_at is not None:
        return True
    if job.owner_id == actor.pk:
        return cancel_job(job=job, reason=CANCELLED)
    audit.record(
        actor=actor,
        action=AuditAction.JOB_CANCELLED,
        target=job,
        data={"owner": job.owner.username, "request_id": job.request_id},
    )
    return cancel_job(job=job, reason=_BY_ADMIN)


def request_content(*, actor: Any, job: InferenceJob, reason: str) -> None:
    """Let `actor` read the texts of somebody's job, or not; either is in the audit log with `reason`.

    Raises AppError PERMISSION_DENIED where the configuration does not allow such reads, or where the
    policy of the job's owner or key keeps no texts.
    """
    obstacle = _obstacle(job)
    with transaction.atomic():
        audit.record(
            actor=actor,
            action=AuditAction.JOB_CONTENT_READ,
            target=job,
            data={
                "reason": reason,
                "owner": job.owner.username,
                "is_removed": job.content_removed_at is not None,
            },
            outcome=Outcome.REFUSED if obstacle else Outcome.DONE,
        )
    if obstacle:
        raise AppError(ErrorCode.PERMISSION_DENIED, obstacle)


def _obstacle(job: InferenceJob) -> str:
    """Why nobody but the owner may read the texts, or nothing."""
    if not current().audited_job_reads:
        return "Nobody but its owner reads the texts of a job: audited_job_reads is off."
    policy = Retention.parse(job.retention) if job.retention else policies_of([job.pk])[job.pk]
    if policy.kind in ("none", "hash"):
        return "The texts of this job are not kept, and nobody but its owner reads them until then."
    return ""
