from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llamagpu.http.origin import peer_of, subscriber_of


@pytest.mark.parametrize(
    ("direct", "peer"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", ""),
        ("unix", ""),
    ],
)
def test_an_address_has_one_spelling(direct: str, peer: str) -> None:
    assert peer_of(direct, None) == peer


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_subscriber_is_counted_as_one(peer: str, counted: str) -> None:
    assert subscriber_of(peer) == counted


@pytest.mark.parametrize(
    ("forwarded", "peer"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6,evil", ""),
        ("", "10.0.0.1"),
    ],
)
def test_only_a_declared_proxy_is_believed_and_only_what_it_wrote_itself(
    settings: Any, forwarded: str, peer: str
) -> None:
    assert peer_of("10.0.0.1", forwarded) == "10.0.0.1"
    settings.LLAMA = replace(settings.LLAMA, trusted_proxy=True)
    assert peer_of("10.0.0.1", forwarded) == peer
