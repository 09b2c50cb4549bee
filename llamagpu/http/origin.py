"""Where a request comes from: the peer's address and the API key it carries.

`X-Forwarded-For` counts only behind a declared proxy (LLAMA_TRUSTED_PROXY), and of it only the last
entry, which that proxy wrote: everything before it is the caller's own invention.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

_IPV6_SUBSCRIBER = 64


@dataclass(frozen=True, slots=True)
class Origin:
    """`peer` is an IP address or empty; `key_prefix` is empty where no key was used."""

    peer: str = ""
    key_prefix: str = ""


#: The origin of the request that the current context serves.
current_origin: ContextVar[Origin] = ContextVar("current_origin", default=Origin())  # noqa: B039


def peer_address(request: HttpRequest) -> str:
    """The address of the other end, or an empty string where there is none (a unix socket)."""
    return peer_of(request.META.get("REMOTE_ADDR", ""), request.META.get("HTTP_X_FORWARDED_FOR"))


def peer_of_scope(scope: Mapping[str, Any]) -> str:
    """The same for an ASGI scope: WebSocket and Socket.IO."""
    client = scope.get("client") or ("", 0)
    forwarded = [value for name, value in scope.get("headers", ()) if name == b"x-forwarded-for"]
    return peer_of(str(client[0]), ",".join(value.decode("latin-1") for value in forwarded))


def peer_of(direct: str, forwarded: str | None) -> str:
    candidate = direct or ""
    if settings.LLAMA.trusted_proxy and forwarded:
        candidate = forwarded.rsplit(",", 1)[-1].strip()
    try:
        return _spelled(candidate)
    except ValueError:
        return ""


def subscriber_of(peer: str) -> str:
    """Whom to count for a peer: its address, or the IPv6 network of the size that one subscriber has."""
    if ":" not in peer or ":" not in (peer := _spelled(peer)):
        return peer
    return str(ipaddress.ip_network(f"{peer}/{_IPV6_SUBSCRIBER}", strict=False))


def _spelled(address: str) -> str:
    """The usual spelling; IPv4 in IPv6's form, as sockets for both have it, is IPv4. Raises ValueError."""
    parsed = ipaddress.ip_address(address)
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
