"""GET /api/usage: one's own, everybody's for who may see it, and a CSV that runs no formula."""

from __future__ import annotations

import csv
import io
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import UsageDay, User
from accounts.services.api_keys import create_api_key
from tests.conftest import Caller

TODAY = timezone.now().date()


def use(
    user: User, *, day: date = TODAY, key: str = "", model: str = "m", prompt: int = 10, **more: Any
) -> UsageDay:
    return UsageDay.objects.create(
        day=day,
        user=user,
        username=user.username,
        role_slug=user.role.slug,
        key_prefix=key,
        model_slug=model,
        requests=1,
        prompt_tokens=prompt,
        completion_tokens=5,
        **more,
    )


@pytest.fixture
def used(member: Caller, operator: Caller) -> None:
    yesterday = TODAY - timedelta(days=1)
    use(member.user, day=yesterday, model="a", cached_tokens=2)
    use(member.user, model="a")
    use(member.user, model="b", key="abcd1234", prompt=30, failed_requests=1)
    use(operator.user, model="b", prompt=1000)
    use(member.user, day=TODAY - timedelta(days=40), prompt=7)


def test_a_member_sees_their_own_by_day(member: Caller, used: None) -> None:
    answer = member.get("/api/usage")
    assert answer.status_code == 200
    body = answer.json()
    assert body["from"] == str(TODAY - timedelta(days=29))
    assert [row["day"] for row in body["results"]] == [str(TODAY - timedelta(days=1)), str(TODAY)]
    assert body["results"][1] == {
        "day": str(TODAY),
        "requests": 2,
        "failed_requests": 1,
        "prompt_tokens": 40,
        "completion_tokens": 10,
        "cached_tokens": 0,
        "total_tokens": 50,
    }
    assert body["totals"]["total_tokens"] == 65
    assert body["truncated"] is False


def test_an_operator_sees_everybodys(operator: Caller, used: None) -> None:
    body = operator.get("/api/usage?group_by=user").json()
    assert [(row["user"], row["prompt_tokens"]) for row in body["results"]] == [
        ("the-operator", 1000),
        ("the-user", 50),
    ]
    mine = operator.get("/api/usage?user=the-operator").json()
    assert mine["totals"]["prompt_tokens"] == 1000


@pytest.mark.parametrize(
    ("filters", "prompt_tokens"),
    [
        ("model=a", 20),
        ("model=b", 30),
        ("model=none", 0),
        ("key=abcd1234", 30),
        ("role=user", 50),
        ("role=admin", 0),
        (f"from={TODAY}", 40),
        (f"to={TODAY - timedelta(days=1)}", 10),
        (f"from={TODAY - timedelta(days=41)}&to={TODAY - timedelta(days=39)}", 7),
        ("user=the-user", 50),
    ],
)
def test_filters_choose(member: Caller, used: None, filters: str, prompt_tokens: int) -> None:
    answer = member.get(f"/api/usage?{filters}")
    assert answer.status_code == 200, answer.content
    assert answer.json()["totals"]["prompt_tokens"] == prompt_tokens


def test_several_groups_at_once(member: Caller, used: None) -> None:
    rows = member.get("/api/usage?group_by=model,key").json()["results"]
    assert {(row["model"], row["key"], row["total_tokens"]) for row in rows} == {
        ("a", "", 30),
        ("b", "abcd1234", 35),
    }


def test_anothers_usage_is_as_absent_as_one_that_never_was(member: Caller, used: None) -> None:
    hidden = member.get("/api/usage?user=the-operator")
    missing = member.get("/api/usage?user=nobody")
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["error"] == missing.json()["error"]


def test_anothers_key_is_as_absent(member: Caller, operator: Caller, used: None) -> None:
    key, _ = create_api_key(actor=None, user=operator.user, name="theirs")
    use(operator.user, key=key.prefix)
    hidden, missing = (member.get(f"/api/usage?key={p}") for p in (key.prefix, "zzzzzzzz"))
    assert hidden.status_code == missing.status_code == 404
    assert hidden.json()["error"] == missing.json()["error"]
    assert operator.get(f"/api/usage?key={key.prefix}").json()["totals"]["requests"] == 1


def test_a_key_without_use_is_still_ones_own(member: Caller) -> None:
    answer = member.get(f"/api/usage?key={member.key[3:11]}")
    assert answer.json()["totals"]["requests"] == 0


def test_a_narrow_key_of_an_admin_sees_its_owners_alone(admin: Caller, used: None) -> None:
    _, text = create_api_key(actor=None, user=admin.user, name="narrow", scopes=["infer"])
    narrow = Caller(admin.user, str(text))
    assert narrow.get("/api/usage").json()["totals"]["requests"] == 0
    assert narrow.get("/api/usage?user=the-user").status_code == 404
    assert admin.get("/api/usage?user=the-user").json()["totals"]["requests"] == 3


def test_who_is_gone_is_still_found_by_name(admin: Caller, member: Caller, used: None) -> None:
    User.objects.filter(pk=member.user.pk).delete()
    assert admin.get("/api/usage?user=the-user").json()["totals"]["requests"] == 3
    rows = admin.get("/api/usage?group_by=user").json()["results"]
    assert {row["user"] for row in rows} == {"the-user", "the-operator"}


def test_strangers_see_nothing(db: None) -> None:
    assert Client().get("/api/usage").status_code == 401


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("from=yesterday", "from"),
        ("from=2026-13-01", "from"),
        ("from=2026-02-02&to=2026-02-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("to=0001-01-01&from=0001-01-02", "from"),
        ("group_by=colour", "group_by"),
        ("group_by=day,day", "group_by"),
        ("group_by=", "group_by"),
        ("format=xml", "format"),
        ("user=", "user"),
        ("user=a%00b", "user"),
        ("key=123456789", "key"),
        ("model=a&model=b", "model"),
        ("colour=red", "colour"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(member: Caller, query: str, named: str) -> None:
    answer = member.get(f"/api/usage?{query}")
    assert answer.status_code == 400, answer.content
    assert answer.json()["error"]["message"].startswith(f"{named}:")


@pytest.mark.parametrize("query", ["to=0001-01-01", "from=9999-12-31", "to=9999-12-31"])
def test_the_edges_of_the_calendar_are_just_empty(member: Caller, query: str) -> None:
    assert member.get(f"/api/usage?{query}").json()["totals"]["requests"] == 0


def test_many_groups_are_cut_and_say_so(
    admin: Caller, member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accounts.api.usage.MAX_ROWS", 2)
    for name in ("a", "b", "c"):
        use(member.user, model=name)
    body = admin.get("/api/usage?group_by=model").json()
    assert (len(body["results"]), body["truncated"]) == (2, True)
    assert body["totals"]["requests"] == 3


# ---------------------------------------------------------------- CSV


def table(caller: Caller, query: str) -> list[list[str]]:
    answer = caller.get(f"/api/usage?{query}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"].startswith('attachment; filename="usage_')
    return list(csv.reader(io.StringIO(answer.content.decode())))


def test_csv_holds_the_same_rows(member: Caller, used: None) -> None:
    lines = table(member, "group_by=model&format=csv")
    assert lines[0] == [
        "model", "requests", "failed_requests", "prompt_tokens", "completion_tokens",
        "cached_tokens", "total_tokens",
    ]  # fmt: skip
    assert ["b", "1", "1", "30", "5", "0", "35"] in lines


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", " =1", '=cmd|" /C calc"!A0', "\n=1"]
)
def test_no_cell_is_a_formula(admin: Caller, member: Caller, name: str) -> None:
    use(member.user, model=name)
    lines = table(admin, "group_by=model,user&format=csv")
    assert lines[1][0] == f"'{name}"


def test_the_accept_header_chooses_csv_too(member: Caller) -> None:
    headers = {**member.headers, "Accept": "text/csv"}
    answer = Client().get("/api/usage", headers=headers)
    assert answer.headers["Content-Type"].startswith("text/csv")


def test_errors_are_json_even_so(member: Caller) -> None:
    answer = member.get("/api/usage?format=csv&user=nobody")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "NOT_FOUND"
