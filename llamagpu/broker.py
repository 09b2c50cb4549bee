"""Celery's way to Redis, with one client for a channel.

Kombu makes a client for every command that it sends, which costs more than the command. Clients only
borrow connections from the channel's pool, so threads may share one.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


class Channel(kombu_redis.Channel):
    _shared: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # it holds a connection of its own
            return super()._create_client(asynchronous=True)
        if self._shared is None or self._shared.connection_pool is not self.pool:
            self._shared = super()._create_client()
        return self._shared


class Transport(kombu_redis.Transport):
    Channel = Channel


def use_shared_clients() -> None:
    """For addresses of all kinds: a unix socket's leaves no place to name a transport."""
    for alias in ("redis", "rediss"):
        TRANSPORT_ALIASES[alias] = f"{__name__}:Transport"
