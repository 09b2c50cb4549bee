from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import Caller


@pytest.fixture
def boss(admin: Caller) -> Client:
    """The Admin's browser."""
    return browser_of(admin)


def browser_of(caller: Caller) -> Client:
    browser = Client()
    browser.force_login(caller.user)
    return browser
