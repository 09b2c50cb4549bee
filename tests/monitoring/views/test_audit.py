"""The audit log as a page and in Django admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.utils.html import escape

from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.models import AuditLog
from monitoring.services.audit_verification import verify_audit_log
from monitoring.views import audit as audit_page
from tests.conftest import Caller


def signed_in(caller: Caller) -> Client:
    client = Client()
    client.force_login(caller.user)
    return client


def page_of(caller: Caller, query: str = "") -> str:
    response = signed_in(caller).get(f"/audit{query}")
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def change(admin: Caller) -> AuditLog:
    return audit.record(
        actor=admin.user,
        action=AuditAction.CONFIGURATION_CHANGED,
        target=None,
        before={"max_queue": 256, "same": 1},
        after={"max_queue": 17, "same": 1, "note": "<b>bold</b>"},
    )


def test_the_page_shows_what_changed(admin: Caller, change: AuditLog) -> None:
    page = page_of(admin)
    assert "configuration.changed" in page
    assert "256" in page
    assert "17" in page
    assert "<code>same</code>" not in page
    assert escape("<b>bold</b>") in page
    assert "<b>bold</b>" not in page


def test_filters_of_the_page(admin: Caller, change: AuditLog) -> None:
    assert "256" not in page_of(admin, "?action=role.created")
    assert "No row matches" in page_of(admin, "?action=role.created")
    assert "is not a valid choice" in page_of(admin, "?action=nothing")
    assert "value=&quot;" not in page_of(admin, '?q="><script>alert(1)</script>')
    assert "<script>alert" not in page_of(admin, '?q="><script>alert(1)</script>')


def test_older_rows_are_a_page_further(
    admin: Caller, change: AuditLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_page, "_PAGE", 1)
    page = page_of(admin)
    assert f"?before={change.pk}" in page
    older = page_of(admin, f"?before={change.pk}")
    assert "Newest" in older
    assert "256" not in older


def test_the_page_says_whether_the_log_is_whole(admin: Caller, change: AuditLog) -> None:
    assert "never verified" in page_of(admin)
    verify_audit_log()  # in tests the triggers are missing, which it reports
    assert "tampered with" in page_of(admin)
    assert "triggers" in page_of(admin)


def test_an_operator_reads_it_and_nobody_below(
    operator: Caller, member: Caller, redis_client: Any
) -> None:
    assert "Audit log" in page_of(operator)
    assert signed_in(member).get("/audit").status_code == 403
    assert Client().get("/audit").status_code == 302
    assert signed_in(operator).post("/audit").status_code == 405


def test_django_admin_shows_the_log_and_changes_nothing(admin: Caller, change: AuditLog) -> None:
    client = signed_in(admin)
    listed = client.get("/admin/monitoring/auditlog/?q=the-admin")
    assert listed.status_code == 200
    address = f"/admin/monitoring/auditlog/{change.pk}/change/"
    assert client.get(address).status_code == 200
    assert client.post(address, {"actor_name": "x"}).status_code == 403
    assert client.post(address.replace("change", "delete"), {"post": "yes"}).status_code == 403
    assert client.get("/admin/monitoring/auditlog/add/").status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [change.pk], "post": "yes"}
    client.post("/admin/monitoring/auditlog/", chosen)
    assert AuditLog.objects.get(pk=change.pk).actor_name == "the-admin"
