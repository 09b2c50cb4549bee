"""Moves old audit rows to sealed files: the chain goes on through the file, nothing is broken."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from django.db import connection, transaction

from llamagpu.http.errors import AppError
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.audit_archive_file import WrittenArchive, write_archive
from monitoring.audit_chain import GENESIS, hash_of
from monitoring.models import AuditLog, AuditSeal
from monitoring.services.audit_verification import archive_folder

#: Rows of one file.
MAX_ROWS = 100_000


def archive_audit_rows(*, actor: Any, days: int) -> list[AuditSeal]:
    """Seal and move all rows older than `days`. Returns the new seals; none where nothing is old.

    Raises AppError CONFLICT where the rows do not hang together: a broken log is never archived.
    """
    if days < 1:
        raise AppError(ErrorCode.INVALID_INPUT, "days: must be at least 1")
    limit = datetime.now(tz=UTC) - timedelta(days=days)
    seals = []
    while seal := _archive_stretch(actor, limit):
        seals.append(seal)
    return seals


def _archive_stretch(actor: Any, limit: datetime) -> AuditSeal | None:
    """First the file, complete and on the disk; then seal, removal and audit row together.

    A crash in between leaves a file without a seal, which the next run writes again.
    """
    ids = _old_ids(limit)
    if not ids:
        return None
    first_id, last_id = ids[0], ids[-1]
    sealed = AuditSeal.objects.order_by("-last_id").first()
    start = sealed.last_hash if sealed else GENESIS
    chain = _Chain(start)
    name = f"audit-{first_id:012d}-{last_id:012d}.jsonl.gz"
    rows = AuditLog.objects.filter(id__gte=first_id, id__lte=last_id).order_by("id")
    written = write_archive(archive_folder(), name, chain.checked(rows.iterator(chunk_size=2000)))
    return _seal(actor, ids, start, chain.last_hash, written)


@transaction.atomic
def _seal(
    actor: Any, ids: list[int], previous_hash: str, last_hash: str, written: WrittenArchive
) -> AuditSeal:
    audit.lock_head()
    if AuditSeal.objects.filter(last_id__gte=ids[0]).exists():
        raise AppError(ErrorCode.CONFLICT, "These rows are being archived by somebody else.")
    seal = AuditSeal.objects.create(
        created_at=datetime.now(tz=UTC),
        first_id=ids[0],
        last_id=ids[-1],
        num_rows=written.num_rows,
        previous_hash=previous_hash,
        last_hash=last_hash,
        file_name=written.name,
        sha256=written.sha256,
    )
    with connection.cursor() as cursor:  # the ORM removes no audit row for anybody
        cursor.execute("DELETE FROM monitoring_auditlog WHERE id <= %s", [seal.last_id])
        if cursor.rowcount != seal.num_rows:
            raise AppError(ErrorCode.CONFLICT, "The rows changed while they were archived.")
    audit.record(
        actor=actor,
        action=AuditAction.AUDIT_ARCHIVED,
        target=seal,
        data={
            "first_id": seal.first_id,
            "last_id": seal.last_id,
            "rows": seal.num_rows,
            "file": seal.file_name,
            "sha256": seal.sha256,
            "last_hash": seal.last_hash,
        },
    )
    return seal


class _Chain:
    """Passes rows on while each follows the one before."""

    def __init__(self, start: str) -> None:
        self.last_hash = start

    def checked(self, rows: Iterator[AuditLog]) -> Iterator[AuditLog]:
        for row in rows:
            if row.previous_hash != self.last_hash or hash_of(row) != row.hash:
                raise AppError(
                    ErrorCode.CONFLICT,
                    f"The audit log is broken at row {row.pk}: run audit_verify. Nothing was archived.",
                )
            self.last_hash = row.hash
            yield row


def _old_ids(limit: datetime) -> list[int]:
    """The oldest rows, up to the first that is too young to go, at most `MAX_ROWS`."""
    young = AuditLog.objects.filter(created_at__gte=limit).order_by("id").first()
    rows = AuditLog.objects.order_by("id").values_list("id", flat=True)
    if young is not None:
        rows = rows.filter(id__lt=young.pk)
    return list(islice(rows.iterator(chunk_size=5000), MAX_ROWS))
