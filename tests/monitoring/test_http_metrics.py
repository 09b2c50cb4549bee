"""Answers are counted by door, address and error, and no caller can make a series of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.services.limits import set_limits
from monitoring.http_metrics import door_of
from monitoring.metrics.reading import Snapshot
from tests.conftest import Caller

Counted = Callable[[], Snapshot]


def test_answers_are_counted_by_door_and_pattern(member: Caller, counted: Counted) -> None:
    member.get("/api/jobs/00000000-0000-0000-0000-000000000000")
    member.get("/api/v1/models")
    member.get("/v1/models")
    Client().get("/livez")
    found = counted()
    kind = {"door": "api", "endpoint": "api/jobs/<uuid:job_id>", "method": "GET"}
    assert found.counter("http_requests_total", **kind, status="4xx") == 1
    assert found.counter("http_requests_total", endpoint="api/models", status="2xx") == 1
    assert found.counter("http_requests_total", door="openai", status="2xx") == 1
    assert found.counter("http_requests_total", door="probe", status="2xx") == 1
    assert found.counter("http_errors_total", door="api", code="JOB_NOT_FOUND") == 1
    spread = found.histogram("http_request_duration_seconds", door="api")
    assert spread is not None and spread.count == 2


def test_unknown_addresses_and_methods_are_one_series(db: None, counted: Counted) -> None:
    for number in range(20):
        Client().generic(f"ODD{number}", f"/no/such/{number}")
    found = counted()
    assert found.counter("http_requests_total", endpoint="none", method="other") == 20
    assert len(found.counters["http_requests_total"]) == 1


def test_refusals_are_counted_by_their_rule(member: Caller, counted: Counted) -> None:
    set_limits(actor=None, subject=f"user:{member.user.username}", system_per_minute=1)
    for _ in range(3):
        member.get("/api/me")
    Client().get("/api/me", headers={"Authorization": "Bearer wrong"})
    Client().post("/login/", {"username": "nobody", "password": "wrong"})
    found = counted()
    assert found.counter("limit_refusals_total", limit="system_per_minute", subject="user") == 2
    assert found.counter("http_errors_total", code="RATE_LIMIT_EXCEEDED") == 2
    assert found.counter("auth_failures_total", method="key") == 1
    assert found.counter("auth_failures_total", method="password") == 1


@pytest.mark.parametrize(
    ("path", "door"),
    [
        ("/api/infer", "api"),
        ("/v1/models", "openai"),
        ("/admin/", "admin"),
        ("/static/a.css", "static"),
        ("/metrics", "probe"),
        ("/", "pages"),
        ("/apiary", "pages"),
    ],
)
def test_every_address_has_a_door(path: str, door: str) -> None:
    assert door_of(path) == door
