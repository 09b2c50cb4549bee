from __future__ import annotations

import pytest
from django.db import transaction

from accounts.models import Role
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.models import AppendOnlyError, AuditLog
from tests.conftest import Caller


@pytest.fixture
def rows(db: None) -> list[AuditLog]:
    role = Role.objects.get(slug="guest")
    deeds = (AuditAction.ROLE_CREATED, AuditAction.ROLE_CHANGED, AuditAction.ROLE_DELETED)
    return [audit.record(actor=None, action=deed, target=role) for deed in deeds]


def test_each_row_carries_the_hash_of_the_one_before(rows: list[AuditLog]) -> None:
    assert rows[0].previous_hash == audit.GENESIS
    assert [row.previous_hash for row in rows[1:]] == [row.hash for row in rows[:-1]]


def test_the_hash_covers_what_the_row_says(rows: list[AuditLog]) -> None:
    stored = AuditLog.objects.get(pk=rows[1].pk)
    assert audit.hash_of(stored) == stored.hash
    stored.actor_name = "somebody else"
    assert audit.hash_of(stored) != stored.hash


def test_a_deed_of_the_system_has_no_actor(rows: list[AuditLog]) -> None:
    assert rows[0].actor is None
    assert rows[0].actor_name == "system"


def test_a_row_outlives_its_actor(admin: Caller) -> None:
    row = audit.record(actor=admin.user, action=AuditAction.USER_CHANGED, target=admin.user)
    admin.user.delete()
    kept = AuditLog.objects.get(pk=row.pk)
    assert kept.actor_name == "the-admin"
    assert audit.hash_of(kept) == kept.hash


def test_rows_are_neither_changed_nor_removed(rows: list[AuditLog]) -> None:
    with pytest.raises(AppendOnlyError):
        rows[0].save()
    with pytest.raises(AppendOnlyError):
        rows[0].delete()
    with pytest.raises(AppendOnlyError):
        AuditLog.objects.update(action="x")
    with pytest.raises(AppendOnlyError):
        AuditLog.objects.all().delete()


def test_a_deed_that_fails_leaves_no_row(rows: list[AuditLog]) -> None:
    role = Role.objects.get(slug="guest")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        audit.record(actor=None, action=AuditAction.ROLE_CHANGED, target=role)
        raise ZeroDivisionError
    after = audit.record(actor=None, action=AuditAction.ROLE_CREATED, target=role)
    assert after.previous_hash == rows[-1].hash
