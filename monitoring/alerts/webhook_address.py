"""Which addresses a webhook may have.

Public ones, and what LLAMA_WEBHOOK_ALLOW opens of private networks. A name is held against this when
it is written, and the address that it leads to at every connection.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from llamagpu.lib.allow_list import Address, AllowList, effective, is_dangerous, is_host_name

MAX_URL = 1000
_PORTS = {"http": 80, "https": 443}
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/\[\]?=&%+,;@!$'()*]+")


class WebhookAddressError(ValueError):
    """An address that cannot be used, or that this installation may not call."""


@dataclass(frozen=True, slots=True)
class WebhookAddress:
    """`shown` names scheme, host and port alone: the rest may be a secret."""

    url: str
    host: str
    port: int
    shown: str

    @classmethod
    def parse(cls, text: str) -> WebhookAddress:
        """Raises WebhookAddressError for what two parsers might read in two ways."""
        if len(text) > MAX_URL or not _CHARACTERS.fullmatch(text):
            raise WebhookAddressError("must be a plain URL like https://host/path")
        try:
            parts = urlsplit(text)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise WebhookAddressError("must be a URL like https://host/path") from error
        if parts.scheme not in _PORTS:
            raise WebhookAddressError("must begin with https:// or http://")
        if "@" in parts.netloc:
            raise WebhookAddressError("must hold no user or password")
        if literal_of(host) is None and not is_host_name(host):
            raise WebhookAddressError("names no host")
        if port == 0:
            raise WebhookAddressError("names no port")
        named = f"[{host}]" if ":" in host else host
        shown = f"{parts.scheme}://{named}" + (f":{port}" if port else "")
        return cls(text, host, port or _PORTS[parts.scheme], shown)


def literal_of(host: str) -> Address | None:
    """The address that `host` writes out; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def permits(allow: AllowList, host: str, port: int, address: Address) -> bool:
    """Whether `host`, found at `address`, may be called."""
    carried = effective(address)
    is_public = carried.is_global and not is_dangerous(carried)
    return is_public or allow.permits(host, port, address)


def check_allowed(address: WebhookAddress, allow: AllowList) -> None:
    """Raises WebhookAddressError for an address that is written out and closed.

    What a name leads to is only known when it is called.
    """
    literal = literal_of(address.host)
    is_local = address.host == "localhost" or address.host.endswith(".localhost")
    if literal is None and is_local and not allow.names(address.host, address.port):
        literal = ipaddress.ip_address("127.0.0.1")
    if literal is not None and not permits(allow, address.host, address.port, literal):
        raise WebhookAddressError(
            "lies in a private network that LLAMA_WEBHOOK_ALLOW, "
            "which whoever runs this server sets, does not open"
        )
