"""Addresses of upstreams: servers of OpenAI's API that compute in place of an engine of ours.

What an Admin may name is bounded by LLAMA_UPSTREAM_ALLOW, which only who runs the machine can set.
Here a URL is read and its name compared; the address that a name leads to is checked anew at every
connection (`inference.worker.remote.network`).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from llamagpu.lib.allow_list import Address, AllowList, is_host_name

PREFIX = "remote:"
MAX_URL = 512
_PORTS = {"http": 80, "https": 443}
_CHARACTERS = re.compile(r"[A-Za-z0-9\-._~:/\[\]]+")
_PATH = re.compile(r"(/[A-Za-z0-9\-._~]+)*")


class AddressRefusedError(ValueError):
    """An address that cannot be used, or that this installation may not call."""


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where an API begins: `host` in small letters, `path` without a slash at its end."""

    scheme: str
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, text: str) -> BaseUrl:
        """From `https://host:port/v1`. Raises AddressRefusedError.

        Everything that two parsers might read in two ways is refused: credentials, backslashes,
        escapes, numbers that stand for addresses.
        """
        if len(text) > MAX_URL or not _CHARACTERS.fullmatch(text):
            raise AddressRefusedError("must be a plain URL like https://host:8000/v1")
        try:
            parts = urlsplit(text)
            host, port = (parts.hostname or "").rstrip("."), parts.port
        except ValueError as error:
            raise AddressRefusedError("must be a URL like https://host:8000/v1") from error
        if parts.scheme not in _PORTS:
            raise AddressRefusedError("must begin with http:// or https://")
        path = parts.path.rstrip("/")
        if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
            raise AddressRefusedError("has a path that is not plain")
        if literal_of(host) is None and not is_host_name(host):
            raise AddressRefusedError("names no host")
        if port == 0:
            raise AddressRefusedError("names no port")
        return cls(parts.scheme, host, port or _PORTS[parts.scheme], path)

    @property
    def text(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.path}"


def literal_of(host: str) -> Address | None:
    """The address that `host` writes out; None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def check_allowed(url: BaseUrl, allow: AllowList) -> None:
    """Raises AddressRefusedError where no rule can open `url`.

    A name that is not listed may still lead into a listed network: the connection decides.
    """
    literal = literal_of(url.host)
    if literal is not None:
        is_open = allow.permits(url.host, url.port, literal)
    else:
        has_networks = any(rule.network and rule.fits_port(url.port) for rule in allow.rules)
        is_open = allow.names(url.host, url.port) or has_networks
    if not is_open:
        raise AddressRefusedError(
            "is not among the hosts of LLAMA_UPSTREAM_ALLOW, which whoever runs this server sets"
        )
