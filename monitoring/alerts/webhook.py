"""Sends one message to a webhook: signed, to a checked address, without following anywhere else.

`X-LlamaGPU-Signature: v1=<hex>` is HMAC-SHA-256 under the channel's secret of the timestamp in
`X-LlamaGPU-Timestamp`, a full stop and the body. Receivers refuse old timestamps and compare in
constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from typing import Any

import httpcore
import httpx

from llamagpu.lib.allow_list import Address, AllowList
from llamagpu.lib.version import VERSION
from monitoring.alerts.webhook_address import literal_of, permits

TIMEOUT = 10.0
_MAX_ADDRESSES = 4


class SendError(Exception):
    """The message did not arrive; the text says why and holds no secret."""


class ForbiddenAddressError(Exception):
    """The name leads to no address that may be called."""


class CheckedBackend(httpcore.NetworkBackend):
    """Opens TCP connections to the very address that was compared with the rules."""

    def __init__(self, allow: AllowList) -> None:
        self._allow = allow
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        permitted = [
            address for address in _resolve(host, port) if permits(self._allow, host, port, address)
        ]
        if not permitted:
            raise ForbiddenAddressError
        failure: Exception | None = None
        for address in permitted[:_MAX_ADDRESSES]:
            try:
                return self._inner.connect_tcp(
                    str(address), port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError("no address")

    def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        raise ForbiddenAddressError

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class _CheckedTransport(httpx.HTTPTransport):
    def __init__(self, allow: AllowList) -> None:
        context = ssl.create_default_context()
        super().__init__(verify=context, trust_env=False)
        self._pool = httpcore.ConnectionPool(
            ssl_context=context, network_backend=CheckedBackend(allow)
        )


def sign(secret: str, timestamp: str, body: bytes) -> str:
    signed = timestamp.encode() + b"." + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def send(
    url: str, secret: str, message: Mapping[str, Any], *, delivery: str, allow: AllowList
) -> None:
    """Raises SendError unless the receiver answers with a status of 200 to 299."""
    body = json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"llamagpu/{VERSION}",
        "X-LlamaGPU-Delivery": delivery,
        "X-LlamaGPU-Event": str(message.get("event", "")),
        "X-LlamaGPU-Timestamp": timestamp,
        "X-LlamaGPU-Signature": sign(secret, timestamp, body),
    }
    client = httpx.Client(
        transport=_CheckedTransport(allow),
        timeout=TIMEOUT,
        follow_redirects=False,
        trust_env=False,
    )
    try:
        # The head says it all: whatever body the receiver sends is not read.
        with client, client.stream("POST", url, content=body, headers=headers) as answer:
            status = answer.status_code
    except ForbiddenAddressError as error:
        raise SendError("its name leads to no address that may be called") from error
    except httpx.TimeoutException as error:
        raise SendError("it did not answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise SendError(f"it cannot be reached: {type(error).__name__}") from error
    if 300 <= status < 400:
        raise SendError(f"it answered {status}: redirects are not followed")
    if not 200 <= status < 300:
        raise SendError(f"it answered {status}")


def _resolve(host: str, port: int) -> list[Address]:
    literal = literal_of(host)
    if literal is not None:
        return [literal]
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise httpcore.ConnectError("the name cannot be resolved") from error
    addresses = [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in infos]
    return list(dict.fromkeys(addresses))
