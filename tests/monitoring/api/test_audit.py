"""The audit log through the API and its export."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient, Client

from accounts.services.api_keys import create_api_key
from monitoring import audit
from monitoring.audit_actions import AuditAction, Outcome
from monitoring.models import AuditLog
from tests.conftest import Caller


@pytest.fixture
def rows(admin: Caller, member: Caller) -> list[AuditLog]:
    """A few deeds besides those that made the cast."""
    user = member.user
    return [
        audit.record(
            actor=admin.user,
            action=AuditAction.USER_CHANGED,
            target=user,
            before={"role": "user", "email": ""},
            after={"role": "guest", "email": ""},
        ),
        audit.record(
            actor=user,
            action=AuditAction.ACCESS_REFUSED,
            target=None,
            data={"route": "api/users"},
            outcome=Outcome.REFUSED,
        ),
        audit.record(actor=None, action=AuditAction.ROLE_CHANGED, target=None, data={"x": "=1+1"}),
    ]


def found(caller: Caller, query: str = "") -> list[int]:
    response = caller.get(f"/api/audit{query}")
    assert response.status_code == 200, response.content
    return [row["id"] for row in response.json()["results"]]


def export(caller: Caller, query: str = "") -> Any:
    """(response, whole text) of an export, as an ASGI server sends it."""

    async def fetch() -> Any:
        response = await AsyncClient().get(f"/api/audit/export{query}", headers=caller.headers)
        if not response.streaming:
            return response, response.content.decode()
        parts = [part async for part in response.streaming_content]  # type: ignore[attr-defined]
        return response, b"".join(parts).decode()

    return async_to_sync(fetch)()


def test_a_row_says_who_did_what_and_what_it_was_before(
    admin: Caller, rows: list[AuditLog]
) -> None:
    shown = admin.get("/api/audit?action=user.changed").json()["results"][0]
    assert shown["id"] == rows[0].pk
    assert (shown["actor"], shown["action"], shown["outcome"]) == (
        "the-admin",
        "user.changed",
        "done",
    )
    assert (shown["target_type"], shown["target_name"]) == ("user", "the-user")
    assert shown["before"] == {"role": "user", "email": ""}
    assert shown["after"] == {"role": "guest", "email": ""}
    assert shown["hash"] == rows[0].hash


def test_newest_first_in_pages(admin: Caller, rows: list[AuditLog]) -> None:
    first = admin.get("/api/audit?limit=2").json()
    assert [row["id"] for row in first["results"]] == [rows[2].pk, rows[1].pk]
    second = admin.get(first["next"]).json()
    assert second["results"][0]["id"] == rows[0].pk


def test_filters_narrow(admin: Caller, rows: list[AuditLog]) -> None:
    assert found(admin, "?outcome=refused") == [rows[1].pk]
    assert found(admin, "?actor=the-user&action=access.refused") == [rows[1].pk]
    assert rows[0].pk in found(admin, f"?target_type=user&target_id={rows[0].target_id}")
    assert found(admin, "?since=2999-01-01") == []
    assert rows[2].pk in found(admin, "?until=2999-01-01T00:00:00Z")
    assert found(admin, "?q=access.refused the-user") == [rows[1].pk]
    assert found(admin, "?ip=10.1.2.3") == []
    assert found(admin, "?key=abcdefgh") == []
    assert found(admin, "?request_id=nothing") == []


@pytest.mark.parametrize(
    "query",
    ["actoor=x", "action=nothing", "since=yesterday", "ip=here", "key=toolongaprefix", "limit=0"],
)
def test_a_filter_that_cannot_be_is_refused_by_name(admin: Caller, query: str) -> None:
    response = admin.get(f"/api/audit?{query}")
    assert response.status_code == 400
    assert query.split("=", maxsplit=1)[0] in response.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/api/audit", "/api/audit/export"])
def test_only_who_may_read_the_configuration_reads_the_log(
    path: str, operator: Caller, member: Caller, guest: Caller, redis_client: Any
) -> None:
    assert export(operator)[0].status_code == 200
    for caller in (member, guest):
        assert caller.get(path).status_code == 403
    assert Client().get(path).status_code == 401


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_the_log_cannot_be_written_through_the_api(admin: Caller, method: str) -> None:
    before = AuditLog.objects.count()
    response = getattr(Client(), method)("/api/audit", headers=admin.headers)
    assert response.status_code == 405
    assert AuditLog.objects.count() == before


def test_a_key_needs_the_scope(admin: Caller) -> None:
    _, other = create_api_key(actor=None, user=admin.user, name="x", scopes=["models:read"])
    _, fitting = create_api_key(actor=None, user=admin.user, name="x", scopes=["audit"])
    assert Caller(admin.user, str(other)).get("/api/audit").status_code == 403
    assert Caller(admin.user, str(fitting)).get("/api/audit").status_code == 200


def test_the_export_is_every_row_oldest_first_and_a_deed_itself(
    admin: Caller, rows: list[AuditLog]
) -> None:
    response, text = export(admin)
    assert response["Content-Type"] == "application/jsonl"
    assert response["Content-Disposition"].startswith('attachment; filename="audit-')
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["id"] for line in lines] == list(
        AuditLog.objects.order_by("id").values_list("id", flat=True)
    )
    assert lines[-1]["action"] == "audit.exported"
    assert lines[-1]["actor"] == "the-admin"


def test_the_export_says_which_part_was_taken(admin: Caller, rows: list[AuditLog]) -> None:
    _, text = export(admin, "?as=jsonl&outcome=refused&key=abcdefgh")
    assert text == ""
    taken = AuditLog.objects.get(action=AuditAction.AUDIT_EXPORTED)
    assert taken.data == {
        "form": "jsonl",
        "filters": {"outcome": "refused", "key_prefix": "abcdefgh"},
    }


def test_a_spreadsheet_runs_no_formula_from_the_export(admin: Caller, rows: list[AuditLog]) -> None:
    from accounts.services.users import create_user

    create_user(actor=None, username="-1+1", password="correct horse battery", role="guest")
    response, text = export(admin, "?as=csv")
    assert response["Content-Type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == AuditLog.objects.count()
    cells = [cell for line in lines for cell in line.values()]
    assert "'-1+1" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_an_unknown_form_is_refused(admin: Caller) -> None:
    response = admin.get("/api/audit/export?as=xml")
    assert response.status_code == 400
    assert "as" in response.json()["error"]["message"]


def test_an_address_and_a_key_of_a_call_stand_in_the_row(admin: Caller) -> None:
    export(admin)
    row = AuditLog.objects.get(action=AuditAction.AUDIT_EXPORTED)
    assert row.ip == "127.0.0.1"
    assert row.key_prefix == admin.key.split("_")[1]
    assert row.request_id.startswith("req_")
