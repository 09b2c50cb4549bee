"""The page of usage, as one's own and as everybody's."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.services.limits import set_limits
from tests.accounts.api.test_usage import use
from tests.conftest import Caller

TODAY = timezone.now().date()


def browse(caller: Caller, path: str = "/usage") -> Any:
    client = Client()
    client.force_login(caller.user, backend="accounts.backends.RoleBackend")
    return client.get(path)


def series_of(answer: Any) -> dict[str, list[Any]]:
    text = re.search(r'id="usage-series" type="application/json">(.*?)</script>', answer.text)
    assert text is not None
    return dict(json.loads(text.group(1)))


@pytest.fixture(autouse=True)
def real_counters(redis_client: Any) -> None: ...


def test_strangers_are_sent_to_sign_in(db: None) -> None:
    answer = Client().get("/usage")
    assert answer.status_code == 302
    assert answer.headers["Location"].endswith("?next=%2Fusage")


def test_a_member_sees_their_own(member: Caller, operator: Caller) -> None:
    use(member.user, model="mine", prompt=1234)
    use(operator.user, model="theirs")
    answer = browse(member)
    assert answer.status_code == 200
    assert "1,234" in answer.text
    assert "mine" in answer.text
    assert "theirs" not in answer.text
    assert 'name="user"' not in answer.text


def test_an_operator_chooses_whose(member: Caller, operator: Caller) -> None:
    use(member.user, model="mine")
    use(operator.user, model="theirs")
    own = browse(operator)
    assert "theirs" in own.text
    assert "mine" not in own.text
    everybody = browse(operator, "/usage?user=")
    assert "of everybody" in everybody.text
    assert "By user" in everybody.text
    chosen = browse(operator, "/usage?user=the-user")
    assert "mine" in chosen.text
    assert "theirs" not in chosen.text


def test_a_member_who_names_another_learns_nothing(member: Caller, operator: Caller) -> None:
    use(operator.user, model="theirs")
    hidden = browse(member, "/usage?user=the-operator")
    missing = browse(member, "/usage?user=nobody")
    assert hidden.status_code == missing.status_code == 404
    assert "There is no such user." in hidden.text
    assert "theirs" not in hidden.text
    assert "theirs" not in browse(member, "/usage?user=").text


def test_the_chart_has_every_day_also_those_without_use(member: Caller) -> None:
    first = TODAY - timedelta(days=4)
    use(member.user, day=TODAY - timedelta(days=2), prompt=7)
    series = series_of(browse(member, f"/usage?from={first}&to={TODAY}"))
    assert series["days"] == [str(first + timedelta(days=number)) for number in range(5)]
    assert series["prompt"] == [0, 0, 7, 0, 0]
    assert series["completion"] == [0, 0, 5, 0, 0]


def test_a_period_that_cannot_be_is_said_and_the_last_month_shown(member: Caller) -> None:
    answer = browse(member, "/usage?from=2026-02-02&to=2026-01-01")
    assert answer.status_code == 400
    assert "Must not be after to." in answer.text
    assert str(TODAY) in answer.text


def test_the_download_is_of_what_is_shown(member: Caller) -> None:
    use(member.user, model="m&m")
    answer = browse(member, f"/usage?from={TODAY}&model=m%26m")
    address = re.search(r'href="(/api/(?:v1/)?usage\?[^"]*)"', answer.text)
    assert address is not None
    table = browse(member, address.group(1).replace("&amp;", "&"))
    assert table.headers["Content-Type"].startswith("text/csv")
    assert "m&m" in table.text


def test_names_are_escaped(member: Caller) -> None:
    use(member.user, model="<script>alert(1)</script>")
    answer = browse(member)
    assert "<script>alert" not in answer.text


def test_limits_are_shown_with_their_source(member: Caller) -> None:
    set_limits(actor=None, subject="user:the-user", daily_tokens=4321)
    text = browse(member).text
    assert "4,321" in text
    assert "Tokens a day (UTC)" in text
    assert "no limit" in text
