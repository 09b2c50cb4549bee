"""The log through the API and on its page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from monitoring.logs.store import LogLine, append
from tests.conftest import Caller
from tests.monitoring.views.test_audit import signed_in

ADDRESS = "/api/system/logs"


@pytest.fixture
def lines(redis_client: Any) -> None:
    append(
        redis_client,
        [
            LogLine("t", "INFO", "web", "a.b", "first"),
            LogLine("t", "WARNING", "worker", "a.c", "Second", request_id="req_2"),
            LogLine("t", "ERROR", "engine", "x", "third", exception="  ValueError: odd"),
        ],
    )


def messages(caller: Caller, query: str = "") -> list[str]:
    answer = caller.get(f"{ADDRESS}{query}")
    assert answer.status_code == 200
    return [line["message"] for line in answer.json()["logs"]]


def test_who_may_read_the_system_reads_its_log(
    lines: None, admin: Caller, operator: Caller, member: Caller, guest: Caller
) -> None:
    assert messages(admin) == messages(operator) == ["third", "Second", "first"]
    assert [one.get(ADDRESS).status_code for one in (member, guest)] == [403, 403]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?level=warning", ["third", "Second"]),
        ("?component=web", ["first"]),
        ("?text=SECOND", ["Second"]),
        ("?text=valueerror", ["third"]),
        ("?request_id=req_2", ["Second"]),
        ("?limit=1", ["third"]),
        ("?level=error&component=web", []),
    ],
)
def test_filters(lines: None, operator: Caller, query: str, found: list[str]) -> None:
    assert messages(operator, query) == found


def test_time_and_place(lines: None, operator: Caller) -> None:
    now = datetime.now(tz=UTC)
    ago, ahead = (now + timedelta(hours=hours) for hours in (-1, 1))
    stamp = "%Y-%m-%dT%H:%M:%SZ"
    assert len(messages(operator, f"?since={ago.strftime(stamp)}")) == 3
    assert messages(operator, f"?since={ahead.strftime(stamp)}") == []
    assert messages(operator, f"?until={ago.strftime(stamp)}") == []
    second = operator.get(f"{ADDRESS}?text=Second").json()["logs"][0]["id"]
    assert messages(operator, f"?after={second}") == ["third"]
    assert messages(operator, f"?before={second}") == ["first"]


@pytest.mark.parametrize(
    "query", ["?level=loud", "?limit=0", "?limit=9999", "?after=x", "?since=soon", "?colour=red"]
)
def test_what_cannot_be_asked_is_named(operator: Caller, redis_client: Any, query: str) -> None:
    answer = operator.get(f"{ADDRESS}{query}")
    assert answer.status_code == 400
    assert query[1:].partition("=")[0] in answer.json()["error"]["message"]


def test_the_page_shows_its_filters(operator: Caller, guest: Caller) -> None:
    page = signed_in(operator).get("/logs?level=error&text=%22%3E%3Cb%3E")
    assert "<option selected>error</option>" in page.content.decode()
    assert "<b>" not in page.content.decode()
    assert signed_in(guest).get("/logs").status_code == 403
