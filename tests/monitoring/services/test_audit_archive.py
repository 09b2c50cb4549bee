"""Old rows go to sealed files, and the chain goes on through them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from llamagpu.http.errors import AppError
from monitoring import audit, audit_guard
from monitoring.audit_actions import AuditAction
from monitoring.audit_archive_file import digest_of
from monitoring.models import AuditLog, AuditSeal
from monitoring.services import audit_archive
from monitoring.services.audit_archive import archive_audit_rows
from monitoring.services.audit_verification import archive_folder, verify_audit_log


class Clock(datetime):
    """`audit.record` takes its time from here."""

    moment = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.moment


@pytest.fixture
def log(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Four rows of a year ago and two of now, guarded by the database as in production."""
    audit_guard.install(connection)
    with monkeypatch.context() as patch:
        patch.setattr(audit, "datetime", Clock)
        Clock.moment = datetime.now(tz=UTC) - timedelta(days=365)
        for number in range(4):
            write(number)
    write(4)
    write(5)
    yield
    audit_guard.remove(connection)
    shutil.rmtree(archive_folder(), ignore_errors=True)


def write(number: int) -> AuditLog:
    return audit.record(
        actor=None, action=AuditAction.ROLE_CHANGED, target=None, data={"number": number}
    )


def archive() -> AuditSeal:
    (seal,) = archive_audit_rows(actor=None, days=30)
    return seal


def path_of(seal: AuditSeal) -> Path:
    return archive_folder() / seal.file_name


def falsify(path: Path) -> None:
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content.replace(b'"number": 2', b'"number": 9')))


def test_old_rows_move_and_the_log_stays_whole(log: None) -> None:
    seal = archive()
    assert seal.num_rows == 4
    assert [row.data.get("number") for row in AuditLog.objects.all()] == [4, 5, None]
    report = verify_audit_log()
    assert report.problems == []
    assert (report.num_rows, report.num_archived) == (7, 4)


def test_the_file_holds_the_rows_for_its_owner_alone(log: None) -> None:
    path = path_of(archive())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert [line["data"]["number"] for line in lines] == [0, 1, 2, 3]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_archiving_is_a_deed_of_its_own(log: None) -> None:
    seal = archive()
    row = AuditLog.objects.get(action=AuditAction.AUDIT_ARCHIVED)
    assert row.data["sha256"] == seal.sha256
    assert row.data["rows"] == 4


def test_nothing_old_means_nothing_done(log: None) -> None:
    archive()
    assert archive_audit_rows(actor=None, days=30) == []


def test_the_chain_goes_through_several_files(log: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_archive, "MAX_ROWS", 3)
    assert [seal.num_rows for seal in archive_audit_rows(actor=None, days=30)] == [3, 1]
    assert verify_audit_log().problems == []


def test_a_tampered_archive_is_found(log: None) -> None:
    path = path_of(archive())
    path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"number": 2', b'"number": 9'))
    )
    (problem,) = verify_audit_log().problems
    assert problem.kind == "archive"
    assert "not what was sealed" in problem.message


def test_a_tampered_archive_with_a_fitting_seal_names_its_row(log: None) -> None:
    seal = archive()
    path = path_of(seal)
    path.write_bytes(
        gzip.compress(gzip.decompress(path.read_bytes()).replace(b'"number": 2', b'"number": 9'))
    )
    AuditSeal.objects.update(sha256=digest_of(path))
    (problem,) = verify_audit_log().problems
    assert (problem.kind, problem.row_id) == ("changed", seal.first_id + 2)


def test_a_missing_archive_is_found(log: None) -> None:
    path_of(archive()).unlink()
    (problem,) = verify_audit_log().problems
    assert "is missing" in problem.message


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"{}\n"), gzip.compress(b"[1]\n")],
    ids=["nothing", "no gzip", "no list", "a number"],
)
def test_a_file_that_is_none_is_a_problem_not_a_crash(log: None, content: bytes) -> None:
    path = path_of(archive())
    path.write_bytes(content)
    AuditSeal.objects.update(sha256=digest_of(path))
    assert verify_audit_log().problems[0].kind == "archive"


def test_a_removed_seal_is_found(log: None) -> None:
    archive()
    AuditSeal.objects.all().delete()
    assert [problem.kind for problem in verify_audit_log().problems] == ["removed", "truncated"]


def test_a_broken_log_is_not_archived(log: None) -> None:
    first = AuditLog.objects.order_by("id").first()
    assert first is not None
    audit_guard.remove(connection)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE monitoring_auditlog SET actor_name='x' WHERE id = %s", [first.pk])
    with pytest.raises(AppError, match="broken at row"):
        archive()
    assert AuditLog.objects.count() == 6
    assert not AuditSeal.objects.exists()
    assert list(archive_folder().iterdir()) == []


def test_a_crash_between_file_and_commit_leaves_nothing_broken(
    log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(audit_archive, "_seal", lambda *rest: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            archive()
    assert verify_audit_log().problems == []
    assert AuditLog.objects.count() == 6
    archive()
    assert verify_audit_log().problems == []


def test_a_failure_inside_the_commit_takes_everything_back(
    log: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", lambda **fields: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            archive()
    assert AuditLog.objects.count() == 6
    assert not AuditSeal.objects.exists()


def test_the_command_follows_the_retention(log: None) -> None:
    out = StringIO()
    call_command("audit_archive", stdout=out)
    assert "is 0, all rows stay" in out.getvalue()
    with pytest.raises(CommandError, match="at least 1"):
        call_command("audit_archive", days=0)
    call_command("audit_archive", days=30, stdout=out)
    assert ": 4 rows" in out.getvalue()
