from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from accounts.sessions import SIGNED_IN_AT
from tests.conftest import PASSWORD, Caller


@pytest.fixture
def signed_in(member: Caller, redis_client: Any) -> Client:
    client = Client()
    client.post("/login/", {"username": "the-user", "password": PASSWORD})
    return client


@pytest.fixture
def change_session(signed_in: Client) -> Callable[..., None]:
    """Writes another time of sign-in, or another end, into the session's row."""

    def change(*, signed_in_ago: float | None = None, ends_in: float | None = None) -> None:
        store = signed_in.session
        if signed_in_ago is not None:
            store[SIGNED_IN_AT] = time.time() - signed_in_ago
            store.save()
        if ends_in is not None:
            end = timezone.now() + timedelta(seconds=ends_in)
            Session.objects.filter(pk=store.session_key).update(expire_date=end)

    return change


def is_open(client: Client) -> bool:
    return client.get("/account/").status_code == 200


def test_an_unused_session_ends(signed_in: Client, change_session: Callable[..., None]) -> None:
    change_session(ends_in=-1)
    assert not is_open(signed_in)


def test_a_used_session_gets_its_idle_time_back(
    signed_in: Client, change_session: Callable[..., None], settings: Any
) -> None:
    change_session(ends_in=100)
    assert is_open(signed_in)
    end = Session.objects.get().expire_date
    assert end - timezone.now() > timedelta(seconds=settings.SIGN_IN.session_idle - 60)
    assert int(signed_in.cookies["sessionid"]["max-age"]) == settings.SIGN_IN.session_idle


def test_a_session_just_used_is_not_written_again(
    signed_in: Client, django_assert_max_num_queries: Any
) -> None:
    before = Session.objects.get().expire_date
    assert is_open(signed_in)
    assert Session.objects.get().expire_date == before


def test_any_session_ends_at_last(
    signed_in: Client, change_session: Callable[..., None], settings: Any
) -> None:
    change_session(signed_in_ago=settings.SIGN_IN.session_age - 10)
    assert is_open(signed_in)
    change_session(signed_in_ago=settings.SIGN_IN.session_age + 1)
    assert not is_open(signed_in)
    assert signed_in.post("/login/", {"username": "the-user", "password": PASSWORD}).url == "/"
    assert is_open(signed_in)


def test_the_cookie_is_for_this_site_and_no_script(signed_in: Client) -> None:
    cookie = signed_in.cookies["sessionid"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
