from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory

from llamagpu.http import navigation
from llamagpu.http.navigation import NavGroup, NavItem, links_for
from llamagpu.http.permissions import READ_MODELS, READ_SYSTEM, Public, SignedIn
from tests.conftest import Caller


@pytest.fixture(autouse=True)
def own_entries(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(navigation, "_items", {})
    navigation.register(NavItem("For all", "a", "home", Public("a test"), 30))
    navigation.register(NavItem("For people", "b", "account", SignedIn(), 20))
    navigation.register(
        NavItem("For rulers", "c", "admin:index", READ_SYSTEM, 10, NavGroup.ADMINISTRATION)
    )
    navigation.register(NavItem("Not built", "d", "no-such-page", Public("a test"), 1))
    yield


def labels(user: Any) -> dict[str, list[str]]:
    return {
        str(group): [link.label for link in links]
        for group, links in links_for(user).items()
        if links
    }


def test_everybody_sees_what_opens_for_them(member: Caller, operator: Caller) -> None:
    assert labels(None) == {"main": ["For all"]}
    assert labels(member.user) == {"main": ["For people", "For all"]}
    assert labels(operator.user) == {
        "main": ["For people", "For all"],
        "administration": ["For rulers"],
    }


def test_a_second_entry_of_a_name_replaces_the_first(member: Caller) -> None:
    navigation.register(NavItem("Models", "e", "home", READ_MODELS))
    assert labels(None) == {}
    assert labels(member.user) == {"main": ["For people", "Models"]}


def test_the_page_itself_is_marked(member: Caller) -> None:
    client = Client()
    client.force_login(member.user)
    page = client.get("/account/").content.decode()
    assert page.count('aria-current="page"') == 1
    assert 'href="/account/" aria-current="page"' in page


def test_the_header_names_the_caller_and_the_role_and_signs_out_by_post(member: Caller) -> None:
    client = Client()
    client.force_login(member.user)
    page = client.get("/account/").content.decode()
    assert "the-user" in page
    assert '<form method="post" action="/logout/">' in page
    assert "Sign out" not in Client().get("/login/").content.decode()


def test_a_database_that_is_away_leaves_a_page_for_nobody() -> None:
    class Away:
        @property
        def is_authenticated(self) -> bool:
            raise OperationalError("gone")

    request = RequestFactory().get("/")
    request.user = Away()  # type: ignore[assignment]
    context = navigation.navigation(request)
    assert context["person"] is None
    assert [link.label for link in context["navigation"]["main"]] == ["For all"]
