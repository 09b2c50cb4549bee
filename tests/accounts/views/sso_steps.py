"""The steps of a sign-in at the provider, as a browser takes them."""

from __future__ import annotations

from typing import Any

from django.test import Client

from accounts.models import User
from tests.accounts.views.oidc_provider import Provider


def leave(browser: Client, next_url: str = "") -> str:
    """Start the sign-in; the address at the provider."""
    answer = browser.get("/login/sso/", {"next": next_url})
    assert answer.status_code == 302, answer.content
    return str(answer.url)


def come_back(browser: Client, provider: Provider, next_url: str = "") -> Any:
    brought = provider.authorize(leave(browser, next_url))
    return browser.get("/login/sso/callback/", brought)


def is_signed_in(browser: Client) -> bool:
    return browser.get("/account/").status_code == 200


def assert_refused(answer: Any, browser: Client, status: int = 403) -> None:
    assert answer.status_code == status
    assert 'role="alert"' in answer.content.decode()
    assert not is_signed_in(browser)
    assert User.objects.count() == 0
