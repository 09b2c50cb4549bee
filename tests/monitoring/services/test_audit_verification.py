"""Whoever tampers with the log by SQL is found, and the row is named."""

from __future__ import annotations

import json
import threading
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import Role
from monitoring import audit, audit_guard
from monitoring.audit_actions import AuditAction
from monitoring.audit_chain import hash_of, sign_head
from monitoring.models import AuditHead, AuditLog, AuditVerification
from monitoring.services import audit_verification
from monitoring.services.audit_verification import sign_head_anew, verify_audit_log
from tests.conftest import Caller


@pytest.fixture
def rows(db: None, monkeypatch: pytest.MonkeyPatch) -> list[AuditLog]:
    """Seven rows. The guard counts as standing: what it refuses has tests of its own."""
    monkeypatch.setattr(audit_guard, "is_installed", lambda connection: True)
    role = Role.objects.get(slug="guest")
    return [
        audit.record(
            actor=None, action=AuditAction.ROLE_CHANGED, target=role, data={"number": number}
        )
        for number in range(7)
    ]


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def kinds() -> list[tuple[str, int | None]]:
    return [(problem.kind, problem.row_id) for problem in verify_audit_log().problems]


def test_an_untouched_log_is_intact(rows: list[AuditLog]) -> None:
    report = verify_audit_log()
    assert report.is_intact
    assert (report.num_rows, report.num_archived) == (AuditHead.objects.get().num_rows, 0)
    assert report.head == rows[-1].hash
    kept = AuditVerification.objects.get()
    assert (kept.is_intact, kept.num_rows, kept.problems) == (True, report.num_rows, [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("actor_name", "somebody else"),
        ("action", "role.deleted"),
        ("target_id", "99"),
        ("ip", "10.9.8.7"),
        ("key_prefix", "abcdefgh"),
        ("outcome", "failed"),
        ("target_name", "x"),
        ("request_id", "x"),
        ("created_at", "2020-01-01 00:00:00+00"),
        ("data", '{"number": 100}'),
        ("before", "{}"),
        ("after", "{}"),
        ("hash_version", 1),
    ],
)
def test_a_changed_row_is_named(rows: list[AuditLog], column: str, value: Any) -> None:
    sql(
        f"UPDATE monitoring_auditlog SET {column} = %s WHERE id = %s",  # noqa: S608  from above
        value,
        rows[3].pk,
    )
    assert kinds() == [("changed", rows[3].pk)]


def test_a_changed_row_with_a_fitting_hash_is_found(rows: list[AuditLog]) -> None:
    row = AuditLog.objects.get(pk=rows[3].pk)
    row.actor_name = "somebody else"
    sql(
        "UPDATE monitoring_auditlog SET actor_name = %s, hash = %s WHERE id = %s",
        row.actor_name,
        hash_of(row),
        row.pk,
    )
    (problem,) = verify_audit_log().problems
    assert problem.row_id == rows[4].pk
    assert f"row {rows[3].pk} was written anew" in problem.message


def test_a_whole_chain_written_anew_is_found_by_the_signature(rows: list[AuditLog]) -> None:
    previous = rows[2].hash
    for row in AuditLog.objects.filter(pk__gt=rows[2].pk).order_by("pk"):
        row.actor_name, row.previous_hash = "somebody else", previous
        previous = hash_of(row)
        sql(
            "UPDATE monitoring_auditlog SET actor_name=%s, previous_hash=%s, hash=%s WHERE id=%s",
            row.actor_name,
            row.previous_hash,
            previous,
            row.pk,
        )
    sql("UPDATE monitoring_audithead SET hash = %s", previous)
    assert kinds() == [("head", None)]
    audit.record(actor=None, action=AuditAction.ROLE_CHANGED, target=None)
    assert kinds() == [("head", None)], "the next row must not make it good"


def test_a_removed_row_is_named(rows: list[AuditLog]) -> None:
    sql("DELETE FROM monitoring_auditlog WHERE id = %s", rows[3].pk)
    found = verify_audit_log().problems
    assert [problem.kind for problem in found] == ["removed", "truncated"]
    assert f"between rows {rows[2].pk} and {rows[4].pk}" in found[0].message
    assert found[1].message == "1 rows are missing"


def test_removed_first_rows_are_found(rows: list[AuditLog]) -> None:
    sql("DELETE FROM monitoring_auditlog WHERE id < %s", rows[3].pk)
    assert kinds()[0] == ("removed", rows[3].pk)


def test_two_rows_that_changed_places_are_named(rows: list[AuditLog]) -> None:
    one, other = rows[2].pk, rows[3].pk
    for old, new in ((one, -1), (other, one), (-1, other)):
        sql("UPDATE monitoring_auditlog SET id = %s WHERE id = %s", new, old)
    found = kinds()
    assert found[0] == ("reordered", one)
    assert {row_id for _, row_id in found} <= {one, other, rows[4].pk}


def test_an_inserted_row_is_named(rows: list[AuditLog]) -> None:
    false = AuditLog.objects.get(pk=rows[3].pk)
    sql("UPDATE monitoring_auditlog SET id = id + 1000 WHERE id > %s", rows[3].pk)
    false.pk, false.actor_name, false.previous_hash = rows[3].pk + 5, "nobody", rows[3].hash
    false.hash = hash_of(false)
    false._state.adding = True
    false.save()
    found = verify_audit_log().problems
    assert [(problem.kind, problem.row_id) for problem in found] == [
        ("inserted", rows[3].pk + 5),
        ("inserted", rows[6].pk + 1000),
    ]
    assert found[1].message == "there are 1 rows too many"


def test_a_row_added_at_the_end_past_the_service_is_found(rows: list[AuditLog]) -> None:
    false = AuditLog.objects.get(pk=rows[-1].pk)
    false.pk, false.previous_hash, false._state.adding = None, rows[-1].hash, True
    false.hash = hash_of(false)
    false.save()
    assert kinds() == [("inserted", false.pk)]


def test_a_tail_that_was_cut_off_is_found(rows: list[AuditLog]) -> None:
    sql("DELETE FROM monitoring_auditlog WHERE id > %s", rows[4].pk)
    assert kinds() == [("truncated", rows[4].pk)]


def test_a_tail_cut_off_with_the_head_moved_is_found(rows: list[AuditLog]) -> None:
    sql("DELETE FROM monitoring_auditlog WHERE id > %s", rows[4].pk)
    sql("UPDATE monitoring_audithead SET hash = %s, num_rows = num_rows - 2", rows[4].hash)
    assert kinds() == [("head", None)]


def test_a_removed_head_is_found(rows: list[AuditLog]) -> None:
    sql("DELETE FROM monitoring_audithead")
    assert [kind for kind, _ in kinds()] == ["inserted"]


def test_an_emptied_log_is_found(rows: list[AuditLog]) -> None:
    sql("DELETE FROM monitoring_auditlog")
    assert [kind for kind, _ in kinds()] == ["truncated"]


def test_missing_triggers_are_reported(db: None) -> None:
    assert kinds() == [("guard", None)]


def test_a_new_pepper_is_accepted_only_when_told(rows: list[AuditLog], settings: Any) -> None:
    settings.API_KEY_PEPPER = "another pepper"
    assert kinds() == [("head", None)]
    sign_head_anew()
    assert kinds() == []


def test_every_row_is_read_in_batches(
    rows: list[AuditLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_verification, "BATCH", 2)
    seen: list[tuple[int, int]] = []
    assert verify_audit_log(progress=lambda done, total: seen.append((done, total))).is_intact
    assert seen[-1] == (7, 7)
    assert (4, 7) in seen


def test_rows_of_the_old_form_keep_their_hash(rows: list[AuditLog]) -> None:
    old = AuditLog(
        created_at=rows[-1].created_at,
        actor_name="system",
        action="role.changed",
        target_type="role",
        target_id="1",
        data={},
        hash_version=1,
        previous_hash=rows[-1].hash,
    )
    old.hash = hash_of(old)
    old.save()
    AuditHead.objects.update(hash=old.hash, num_rows=8, signature=sign_head(old.hash, 8))
    assert kinds() == []


def test_the_command_names_the_row_and_ends_with_one(rows: list[AuditLog]) -> None:
    out = StringIO()
    call_command("audit_verify", stdout=out)
    assert out.getvalue().startswith("intact: 7 rows")
    sql("UPDATE monitoring_auditlog SET target_id = '0' WHERE id = %s", rows[3].pk)
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("audit_verify", json=True, stdout=out)
    assert ended.value.code == 1
    said = json.loads(out.getvalue())
    assert said["intact"] is False
    assert said["problems"] == [
        {"kind": "changed", "row_id": rows[3].pk, "message": f"row {rows[3].pk} was changed"}
    ]


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_chain_holds_when_twenty_write_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_guard, "is_installed", lambda connection: True)
    errors: list[BaseException] = []
    begin = threading.Barrier(20)

    def write(number: int) -> None:
        try:
            begin.wait()
            for step in range(5):
                audit.record(
                    actor=None,
                    action=AuditAction.ROLE_CHANGED,
                    target=None,
                    data={"writer": number, "step": step},
                )
        except BaseException as error:  # noqa: BLE001  told by the test's own thread
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    report = verify_audit_log()
    assert report.problems == []
    assert report.num_rows == 100


def test_a_caller_without_the_right_sees_no_row(rows: list[AuditLog], member: Caller) -> None:
    assert not AuditLog.objects.visible_to(member.user).exists()
