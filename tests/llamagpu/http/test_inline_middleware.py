from __future__ import annotations

import pytest
from django.conf import settings
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.csrf import CsrfViewMiddleware
from django.middleware.security import SecurityMiddleware
from django.test import RequestFactory
from django.utils.module_loading import import_string

from llamagpu.http.inline_middleware import carries_key


@pytest.mark.parametrize(
    ("path", "headers", "expected"),
    [
        ("/api/infer", {"Authorization": "Bearer lg_x"}, True),
        ("/v1/models", {"Authorization": "bearer lg_x"}, True),
        ("/api/infer", {"X-API-Key": "lg_x"}, True),
        ("/api/infer", {}, False),
        ("/api/infer", {"Authorization": "Basic dXNlcjpwYXNz"}, False),
        ("/account/", {"Authorization": "Bearer lg_x"}, False),
    ],
)
def test_a_key_counts_at_the_api_alone(path: str, headers: dict[str, str], expected: bool) -> None:
    assert carries_key(RequestFactory().post(path, headers=headers)) is expected


@pytest.mark.parametrize(
    "middleware", [SecurityMiddleware, XFrameOptionsMiddleware, CsrfViewMiddleware]
)
def test_each_of_djangos_guards_stands_in_the_chain(middleware: type) -> None:
    """Django's own checks know them by name alone and are silenced."""
    chain = [import_string(name) for name in settings.MIDDLEWARE]
    found = [item for item in chain if isinstance(item, type) and issubclass(item, middleware)]
    assert len(found) == 1
