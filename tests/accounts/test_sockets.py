"""Which page may use a session over a socket; what else a socket asks is tested on the real server."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.sockets import is_own_origin


def scope(host: str, proto: str = "", scheme: str = "ws") -> dict[str, Any]:
    headers = [(b"host", host.encode())]
    if proto:
        headers.append((b"x-forwarded-proto", proto.encode()))
    return {"scheme": scheme, "headers": headers}


@pytest.mark.parametrize(
    ("origin", "host", "is_own"),
    [
        ("http://portal.example", "portal.example", True),
        ("http://portal.example:5000", "portal.example:5000", True),
        ("HTTP://PORTAL.example", "Portal.Example", True),
        ("https://portal.example", "portal.example", False),
        ("http://portal.example:5000", "portal.example", False),
        ("http://portal.example.evil.example", "portal.example", False),
        ("http://evil.example/portal.example", "portal.example", False),
        ("http://portal.example@evil.example", "portal.example", False),
        ("http://user@portal.example", "portal.example", False),
        ("null", "portal.example", False),
        ("", "portal.example", False),
        ("", "", False),
        ("http://", "", False),
    ],
)
def test_only_the_very_same_origin_counts(origin: str, host: str, is_own: bool) -> None:
    assert is_own_origin(origin, scope(host)) is is_own


def test_behind_a_proxy_the_scheme_is_the_proxys_word(settings: Any) -> None:
    origin = "https://portal.example"
    assert not is_own_origin(origin, scope("portal.example", "https")), "no proxy is declared"
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert is_own_origin(origin, scope("portal.example", "https"))
    assert not is_own_origin("http://portal.example", scope("portal.example", "https"))
    assert is_own_origin(origin, scope("portal.example", scheme="wss"))


def test_the_public_address_counts_whatever_the_host(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://portal.example"]
    assert is_own_origin("https://portal.example", scope("10.0.0.7:5000"))
    assert not is_own_origin("https://other.example", scope("10.0.0.7:5000"))
