"""Asks the running web process over HTTP whether the whole stack is ready."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any

_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - a table
_TIMEOUT = 5.0


class ReadinessProbe:
    """`obstacle()` for the supervisor: what `/readyz` still misses."""

    def __init__(self, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
        self._host = reachable_host(host)
        self._port = port
        self._headers = {"Host": _acceptable_host(allowed_hosts), "Connection": "close"}

    def obstacle(self) -> str:
        """Empty once `/readyz` answers 200."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request("GET", "/readyz", headers=self._headers)
            response = connection.getresponse()
            body = response.read(65_536)
        except (OSError, http.client.HTTPException):
            return "the web server does not answer yet"
        finally:
            connection.close()
        if response.status == http.HTTPStatus.OK:
            return ""
        return _reasons(body) or f"/readyz answers with status {response.status}"


def reachable_host(bound: str) -> str:
    """Where a server that is bound to `bound` can be reached from this machine."""
    host = bound.strip("[]")
    return _ANY_ADDRESS.get(host, host)


def _acceptable_host(allowed_hosts: Sequence[str]) -> str:
    if "localhost" in allowed_hosts:
        return "localhost"
    names = [host.lstrip(".") for host in allowed_hosts if host != "*"]
    return names[0] if names else "localhost"


def _reasons(body: bytes) -> str:
    try:
        found: Any = json.loads(body)
    except ValueError:
        return ""
    reasons = found.get("reasons") if isinstance(found, dict) else None
    return "; ".join(map(str, reasons)) if isinstance(reasons, list) else ""
