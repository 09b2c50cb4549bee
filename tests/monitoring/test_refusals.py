"""Refused attempts are kept, and cannot flood the log."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError
from rest_framework.exceptions import PermissionDenied

from llamagpu.http import refusals
from llamagpu.http.errors import AppError, render_exception
from llamagpu.http.permissions import INFER, READ_MODELS, READ_SYSTEM, WRITE_SYSTEM
from llamagpu.http.refusals import Refusal
from llamagpu.lib.error_codes import ErrorCode
from monitoring import audit
from monitoring.audit_actions import AuditAction
from monitoring.models import AuditLog
from monitoring.refusals import note_refusal
from tests.conftest import Caller

VIEW = SimpleNamespace(access={"GET": READ_SYSTEM, "PATCH": WRITE_SYSTEM})
OPEN_VIEW = SimpleNamespace(access={"GET": READ_MODELS, "POST": INFER})


def call(user: Any, method: str, view: Any = VIEW, error: Exception | None = None) -> int:
    """What the REST exception handler does with a refusal; the status of the answer."""
    match = SimpleNamespace(route="api/v1/things/<int:pk>")
    request = SimpleNamespace(user=user, method=method, resolver_match=match, request_id="r")
    refused = error or PermissionDenied("No.")
    return render_exception(refused, {"request": request, "view": view}).status_code


def refused() -> list[dict[str, Any]]:
    rows = AuditLog.objects.filter(action=AuditAction.ACCESS_REFUSED)
    return [{"actor": row.actor_name, "outcome": row.outcome, **row.data} for row in rows]


def test_a_refused_write_names_who_wanted_what(member: Caller, redis_client: Any) -> None:
    assert call(member.user, "PATCH") == 403
    assert refused() == [
        {
            "actor": "the-user",
            "outcome": "refused",
            "method": "PATCH",
            "route": "api/things/<int:pk>",
            "rule": "system_config write",
            "reason": "No.",
        }
    ]


def test_a_field_that_a_service_refuses_is_kept_too(member: Caller, redis_client: Any) -> None:
    error = AppError(ErrorCode.PERMISSION_DENIED, "role: only an Admin changes it.")
    assert call(member.user, "POST", OPEN_VIEW, error) == 403
    assert [row["reason"] for row in refused()] == ["role: only an Admin changes it."]


def test_reads_are_kept_where_they_ask_for_the_system_configuration(
    member: Caller, redis_client: Any
) -> None:
    call(member.user, "GET")
    call(member.user, "GET", OPEN_VIEW)
    assert [row["rule"] for row in refused()] == ["system_config read"]


def test_repetitions_within_a_minute_are_one_row(
    member: Caller, guest: Caller, redis_client: Any
) -> None:
    for _ in range(5):
        call(member.user, "PATCH")
        call(guest.user, "PATCH")
    assert [row["actor"] for row in refused()] == ["the-user", "the-guest"]
    call(member.user, "DELETE")
    assert len(refused()) == 3


def test_without_redis_every_refusal_is_written(
    member: Caller, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.REDIS_URL = "unix:///nowhere/valkey.sock"
    call(member.user, "PATCH")
    call(member.user, "PATCH")
    assert len(refused()) == 2


def test_strangers_are_not_written_one_by_one(db: None, redis_client: Any) -> None:
    call(AnonymousUser(), "PATCH")
    assert refused() == []


def test_a_throttled_address_is_one_row_a_minute(db: None, redis_client: Any) -> None:
    limit = AppError(ErrorCode.RATE_LIMIT_EXCEEDED, "Too many failed attempts.")
    for _ in range(3):
        assert call(AnonymousUser(), "GET", OPEN_VIEW, limit) == 429
    assert [(row["actor"], row["rule"]) for row in refused()] == [("system", "attempts")]


def test_a_throttled_user_is_no_refusal(member: Caller, redis_client: Any) -> None:
    limit = AppError(ErrorCode.RATE_LIMIT_EXCEEDED, "Slower.")
    assert call(member.user, "GET", OPEN_VIEW, limit) == 429
    assert refused() == []


def test_a_database_that_fails_leaves_the_refusal_standing(
    member: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**fields: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(audit, "record", fail)
    assert call(member.user, "PATCH") == 403


@pytest.fixture
def broken_listener() -> Iterator[None]:
    def broken(refusal: Refusal) -> None:
        raise ZeroDivisionError

    refusals.add_listener(broken)
    yield
    refusals._listeners.remove(broken)


def test_a_listener_that_breaks_is_logged(
    member: Caller, redis_client: Any, broken_listener: None
) -> None:
    assert note_refusal in refusals._listeners
    assert call(member.user, "PATCH") == 403
    assert len(refused()) == 1


def test_a_call_through_the_whole_server_is_kept(guest: Caller, redis_client: Any) -> None:
    assert guest.post("/api/infer", {"text": "secret words"}).status_code == 403
    (row,) = AuditLog.objects.filter(action=AuditAction.ACCESS_REFUSED)
    assert row.actor == guest.user
    assert row.data["route"] == "api/infer"
    assert row.ip == "127.0.0.1"
    assert row.request_id.startswith("req_")
    assert "secret words" not in str(row.data)
