"""Signing in through the pages needs a server that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from tests.conftest import PASSWORD


@pytest.fixture(autouse=True)
def counting(redis_client: Any) -> None:
    """An empty Redis: sign-ins are closed without one."""


@pytest.fixture
def browser() -> Client:
    return Client()


@pytest.fixture
def sign_in(browser: Client) -> Callable[..., Any]:
    """Posts the sign-in form: `sign_in("the-user")`."""

    def post(username: str, password: str = PASSWORD, **extra: Any) -> Any:
        next_url = extra.pop("next", "")
        form = {"username": username, "password": password, "next": next_url}
        return browser.post("/login/", form, **extra)

    return post


@pytest.fixture
def sign_in_settings(settings: Any) -> Callable[..., None]:
    """Changes `settings.SIGN_IN`: `sign_in_settings(totp=TotpPolicy.OPTIONAL)`."""

    def change(**values: Any) -> None:
        settings.SIGN_IN = replace(settings.SIGN_IN, **values)

    return change
