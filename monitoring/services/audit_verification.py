"""Walks the audit log from its first row, archived ones included, to its signed end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction

from monitoring import audit_guard
from monitoring.audit import lock_head
from monitoring.audit_archive_file import ArchiveError, read_archive
from monitoring.audit_chain import GENESIS, hash_of, is_signed, sign_head
from monitoring.models import AuditHead, AuditLog, AuditSeal, AuditVerification

logger = logging.getLogger(__name__)

BATCH = 2000
MAX_PROBLEMS = 50
_ATTEMPTS = 3

#: Called with (rows checked, rows in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Problem:
    """`kind`: changed, removed, reordered, inserted, truncated, archive, head, guard.

    `row_id` is the row at which it shows, None where it is none in particular.
    """

    kind: str
    row_id: int | None
    message: str


@dataclass(slots=True)
class Report:
    """What a walk found. Numbers count rows; `head` is the hash that the log ends with."""

    num_rows: int = 0
    num_archived: int = 0
    head: str = GENESIS
    problems: list[Problem] = field(default_factory=list)

    @property
    def is_intact(self) -> bool:
        return not self.problems


def archive_folder() -> Path:
    folder: Path = settings.LLAMA.data_dir / "audit-archive"
    return folder


def verify_audit_log(*, progress: Progress | None = None) -> Report:
    """Check everything and keep the result for the audit page. Writing goes on meanwhile."""
    for _ in range(_ATTEMPTS):
        newest = AuditSeal.objects.order_by("-last_id").first()
        report = _Walk(progress or _silent).run()
        if newest == AuditSeal.objects.order_by("-last_id").first():
            break  # else rows were archived meanwhile, and looked removed
    AuditVerification.objects.update_or_create(
        pk=1,
        defaults={
            "checked_at": datetime.now(tz=UTC),
            "is_intact": report.is_intact,
            "num_rows": report.num_rows,
            "num_archived": report.num_archived,
            "problems": [asdict(problem) for problem in report.problems],
            "head": report.head,
        },
    )
    if not report.is_intact:
        logger.error("the audit log is broken: %s", report.problems[0].message)
    return report


@transaction.atomic
def sign_head_anew() -> AuditHead:
    """Accept the end of the log as it is: after the server's pepper was changed on purpose."""
    head = lock_head()
    head.signature = sign_head(head.hash, head.num_rows)
    head.save(update_fields=["signature"])
    return head


class _Walk:
    """One pass. After a break it goes on from the row that broke, so that all are found."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._report = Report()
        self._expected = GENESIS
        self._last_id = 0

    def run(self) -> Report:
        head, newest_id = self._read_end()
        if not audit_guard.is_installed(connection):
            self._note("guard", None, "the database's triggers that keep audit rows are missing")
        if not is_signed(head):
            self._note(
                "head",
                None,
                "the end of the log was not written by this server: it was changed, or the pepper was",
            )
        seals = list(AuditSeal.objects.all())
        for seal in seals:
            self._check_archive(seal, head.num_rows)
        for row in self._live_rows(newest_id):
            self._check(row, is_archived=False)
            if self._report.num_rows % BATCH == 0:
                self._progress(self._report.num_rows, head.num_rows)
        self._check_end(head)
        self._report.head = self._expected
        self._progress(self._report.num_rows, self._report.num_rows)
        return self._report

    @transaction.atomic
    def _read_end(self) -> tuple[AuditHead, int]:
        """The head and the newest row at one moment: no writer is between the two."""
        head = lock_head()
        newest = AuditLog.objects.order_by("-id").values_list("id", flat=True).first()
        return head, newest or 0

    def _live_rows(self, newest_id: int) -> Iterator[AuditLog]:
        at = 0
        while True:
            batch = list(
                AuditLog.objects.filter(id__gt=at, id__lte=newest_id).order_by("id")[:BATCH]
            )
            yield from batch
            if len(batch) < BATCH:
                return
            at = batch[-1].pk

    def _check_archive(self, seal: AuditSeal, total: int) -> None:
        """An archive that cannot be read is one problem; the walk goes on behind it."""
        counted = 0
        if seal.previous_hash != self._expected:
            self._note(
                "archive",
                seal.first_id,
                f"archive {seal.file_name} does not follow what is before it",
            )
        try:
            for row in read_archive(archive_folder() / seal.file_name, seal.sha256):
                self._check(row, is_archived=True)
                counted += 1
                if counted % BATCH == 0:
                    self._progress(self._report.num_rows, total)
        except ArchiveError as error:
            self._note("archive", seal.first_id, f"archive {seal.file_name}: {error}")
            counted, self._expected = seal.num_rows, seal.last_hash
            self._report.num_rows += seal.num_rows
        if counted != seal.num_rows or self._expected != seal.last_hash:
            self._note(
                "archive", seal.last_id, f"archive {seal.file_name} is not what its seal says"
            )
        self._expected, self._last_id = seal.last_hash, seal.last_id

    def _check(self, row: AuditLog, *, is_archived: bool) -> None:
        self._report.num_rows += 1
        self._report.num_archived += is_archived
        if row.previous_hash != self._expected:
            self._note(*self._explain(row))
        elif hash_of(row) != row.hash:
            self._note("changed", row.pk, f"row {row.pk} was changed")
        self._expected, self._last_id = row.hash, row.pk

    def _explain(self, row: AuditLog) -> tuple[str, int, str]:
        """Why `row` does not follow the row before it."""
        before = (
            AuditLog.objects.filter(hash=row.previous_hash).values_list("id", flat=True).first()
        )
        here = f"before row {row.pk}"
        if before is not None and before > row.pk:
            return "reordered", row.pk, f"row {row.pk} stands before row {before}, which it follows"
        if before is not None:
            return "inserted", self._last_id, f"row {self._last_id} was inserted or moved {here}"
        if hash_of(row) != row.hash:
            return "changed", row.pk, f"row {row.pk} was changed, its place in the chain included"
        if self._last_id == 0:
            return "removed", row.pk, f"the rows {here} were removed"
        return (
            "removed",
            row.pk,
            f"something between rows {self._last_id} and {row.pk} was removed, or row "
            f"{self._last_id} was written anew",
        )

    def _check_end(self, head: AuditHead) -> None:
        missing = head.num_rows - self._report.num_rows
        if self._expected == head.hash and missing == 0:
            return
        if missing > 0:
            text = f"{missing} rows are missing"
            if self._expected != head.hash:
                text += f", the newest after row {self._last_id} among them"
            self._note("truncated", self._last_id or None, text)
        elif missing < 0:
            self._note("inserted", self._last_id, f"there are {-missing} rows too many")
        else:
            self._note("head", self._last_id, f"row {self._last_id} is not the last one written")

    def _note(self, kind: str, row_id: int | None, message: str) -> None:
        if len(self._report.problems) < MAX_PROBLEMS:
            self._report.problems.append(Problem(kind, row_id, message))


def _silent(done: int, total: int) -> None:
    """For callers who show no progress."""
