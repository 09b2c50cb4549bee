"""The database itself keeps the audit log, whatever goes past the ORM."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import Role
from monitoring import audit, audit_guard
from monitoring.audit_actions import AuditAction
from monitoring.models import AppendOnlyError, AuditLog, AuditSeal


@pytest.fixture
def guard(db: None) -> Iterator[None]:
    audit_guard.install(connection)
    yield
    audit_guard.remove(connection)


@pytest.fixture
def row(guard: None) -> AuditLog:
    role = Role.objects.get(slug="guest")
    return audit.record(actor=None, action=AuditAction.ROLE_CHANGED, target=role)


def run(statement: str, *values: Any) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


def test_an_update_by_sql_is_refused(row: AuditLog) -> None:
    with pytest.raises(DatabaseError, match="never changed"):
        run("UPDATE monitoring_auditlog SET actor_name = 'x' WHERE id = %s", row.pk)
    assert AuditLog.objects.get(pk=row.pk).actor_name == "system"


def test_a_removal_by_sql_is_refused(row: AuditLog) -> None:
    with pytest.raises(DatabaseError, match="never removed"):
        run("DELETE FROM monitoring_auditlog WHERE id = %s", row.pk)
    assert AuditLog.objects.filter(pk=row.pk).exists()


def test_what_a_seal_covers_may_go_and_nothing_else(row: AuditLog) -> None:
    later = audit.record(actor=None, action=AuditAction.ROLE_CHANGED, target=None)
    AuditSeal.objects.create(
        created_at=datetime.now(tz=UTC),
        first_id=row.pk,
        last_id=row.pk,
        num_rows=1,
        previous_hash=row.previous_hash,
        last_hash=row.hash,
        file_name="x",
        sha256="x",
    )
    run("DELETE FROM monitoring_auditlog WHERE id <= %s", row.pk)
    with pytest.raises(DatabaseError, match="never removed"):
        run("DELETE FROM monitoring_auditlog WHERE id = %s", later.pk)
    assert list(AuditLog.objects.values_list("pk", flat=True)) == [later.pk]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="only PostgreSQL can truncate")
def test_the_table_cannot_be_emptied_at_once(row: AuditLog) -> None:
    with pytest.raises(DatabaseError, match="never removed"):
        run("TRUNCATE monitoring_auditlog")


def test_new_rows_go_in(row: AuditLog) -> None:
    assert audit.record(actor=None, action=AuditAction.ROLE_CHANGED, target=None).pk > row.pk


def test_it_says_whether_it_stands(guard: None) -> None:
    assert audit_guard.is_installed(connection)
    audit_guard.remove(connection)
    assert not audit_guard.is_installed(connection)
    audit_guard.install(connection)


def test_the_orm_has_no_way_around(row: AuditLog) -> None:
    audit_guard.remove(connection)
    same = AuditLog(pk=row.pk, actor_name="somebody else")
    for deed in (
        lambda: AuditLog.objects.bulk_update([row], ["actor_name"]),
        lambda: AuditLog.objects.bulk_create([same], update_conflicts=True),
        lambda: AuditLog._base_manager.filter(pk=row.pk).update(actor_name="x"),
        lambda: AuditLog._base_manager.all().delete(),
        lambda: AuditLog.objects.all()._raw_delete("default"),
        lambda: AuditLog.objects.update_or_create(pk=row.pk, defaults={"actor_name": "x"}),
        lambda: row.save(update_fields=["actor_name"]),
        lambda: row.save(force_update=True),
    ):
        with pytest.raises(AppendOnlyError):
            deed()
    with pytest.raises(DatabaseError), transaction.atomic():
        same.save()  # an insert under a number that is taken, never an update
    assert AuditLog.objects.get(pk=row.pk).actor_name == "system"
