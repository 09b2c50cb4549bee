"""The cache in which django-ratelimit counts: one command a request instead of two.

`get_usage` first adds a counter and then, where it was there already, raises it. A process remembers for
how long each counter lives, so all but the first request of a minute raise it straight away.
"""

from __future__ import annotations

import time
from typing import Any, ClassVar

from django_redis.cache import RedisCache
from django_redis.pool import ConnectionFactory

_MOST_REMEMBERED = 10_000
# Counters that this process has seen: when to forget each, and the seconds that it lives in Redis.
_seen: dict[str, tuple[float, int]] = {}


class SharedClients(ConnectionFactory):
    """One client for all threads, which borrows connections from a pool: Django makes a cache for each
    request, and a client made with it costs more than the command that it sends."""

    _clients: ClassVar[dict[str, Any]] = {}

    def connect(self, url: str) -> Any:
        if url not in self._clients:
            self._clients[url] = super().connect(url)
        return self._clients[url]


class RateCache(RedisCache):
    """django-redis' cache with `add` and `incr` for counters. Raises RedisError."""

    def add(self, key: str, value: Any, timeout: Any = None, **options: Any) -> bool:
        """False without asking where the counter was seen lately."""
        now = time.monotonic()
        seen = _seen.get(key)
        if seen is not None and now < seen[0]:
            return False
        if len(_seen) >= _MOST_REMEMBERED:
            _seen.clear()
        _seen[key] = (now + int(timeout) / 2, int(timeout))
        return bool(super().add(key, value, timeout=timeout, **options))

    def incr(self, key: str, delta: int = 1, **options: Any) -> int:
        """The new count. A counter that is gone (Redis was emptied) begins anew, with its lifetime."""
        client = self.client.get_client(write=True)
        name = self.client.make_key(key)
        count = int(client.incrby(name, delta))
        if count == delta and key in _seen:
            client.expire(name, _seen[key][1])
        return count
