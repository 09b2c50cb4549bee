"""Connections to upstreams, to checked addresses alone.

A name is resolved here, its addresses are compared with the allow-list, and the connection goes to the
very address that was compared; the name stays in the Host header and in TLS. So a name that leads
elsewhere a moment later leads us nowhere. Redirects are not followed, proxies of the environment not
used, nothing is decompressed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Iterable

import httpcore
import httpx

from inference.worker.remote.target import RemoteLoad
from llamagpu.lib.allow_list import Address, AllowList
from llamagpu.lib.version import VERSION

CONNECT_TIMEOUT = 10.0
_MAX_ADDRESSES = 4
_IDLE_CONNECTIONS, _IDLE_SECONDS = 16, 20.0


class ForbiddenAddressError(Exception):
    """The upstream's name leads to no address that may be called."""


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections where `allow` permits it; raises ForbiddenAddressError elsewhere."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await _resolve(host, port, timeout)
        permitted = [address for address in found if self._allow.permits(host, port, address)]
        if not permitted:
            raise ForbiddenAddressError
        failure: Exception | None = None
        for address in permitted[:_MAX_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise ForbiddenAddressError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class CheckedTransport(httpx.AsyncHTTPTransport):
    """httpx's own, with connections from a `CheckedBackend`."""

    def __init__(self, allow: AllowList) -> None:
        # The machine's own authorities, so that one of a company's own counts too.
        context = ssl.create_default_context()
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=None,
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_SECONDS,
            network_backend=CheckedBackend(allow),
        )


def make_client(load: RemoteLoad) -> httpx.AsyncClient:
    """A client of the upstream; to be used and closed on one event loop."""
    headers = {"Accept-Encoding": "identity", "User-Agent": f"llamagpu/{VERSION}"}
    if load.key:
        headers["Authorization"] = f"Bearer {load.key}"
    return httpx.AsyncClient(
        transport=CheckedTransport(load.allow),
        headers=headers,
        timeout=httpx.Timeout(load.silence, connect=CONNECT_TIMEOUT),
        follow_redirects=False,
        trust_env=False,
    )


async def _resolve(host: str, port: int, timeout: float | None) -> list[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout):
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout("the name was not resolved in time") from error
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("the name cannot be resolved") from error
    # A scope such as %eth0 has no place here: link-local addresses are not called by name.
    addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    return list(dict.fromkeys(addresses))
