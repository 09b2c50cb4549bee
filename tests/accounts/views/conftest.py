"""Signing in through the pages needs a server that counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from llamagpu.lib.sign_in_config import OidcConfig
from tests.accounts.views.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.conftest import PASSWORD

Change = Callable[..., None]


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


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture
def provider(running: Provider) -> Provider:
    """The provider, honest again."""
    running.signing_key, running.unsigned = running.key, False
    running.header = {"alg": "RS256", "kid": "one"}
    running.person = {"sub": "s-1", "preferred_username": "ada", "groups": ["staff"]}
    running.claims, running.metadata, running.token_answer = {}, {}, {}
    running.codes.clear()
    running.token_calls = 0
    return running


@pytest.fixture
def configure(provider: Provider, sign_in_settings: Change, db: None) -> Change:
    """Single sign-on at the provider, `configure(only=True)` with other values."""
    config = OidcConfig(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        scopes=("openid", "profile"),
        role_claim="groups",
        role_map=(("chiefs", "admin"), ("engineers", "operator"), ("staff", "user")),
        default_role="none",
        only=False,
        label="Sign in at the works",
    )

    def change(**values: Any) -> None:
        sign_in_settings(oidc=replace(config, **values))

    change()
    return change
