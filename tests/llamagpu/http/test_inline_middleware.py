from __future__ import annotations

import pytest
from django.test import RequestFactory

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
