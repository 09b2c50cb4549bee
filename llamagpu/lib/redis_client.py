"""One Redis connection pool per process and kind, with time limits chosen on purpose.

redis-py 8 made a 5 s socket timeout its default, which breaks blocking reads of 5 s and more; so
every limit is written down here rather than left to the library.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import redis
import redis.asyncio

#: A `redis.Redis`. Its own annotations answer "a value or an awaitable", which fits no caller.
SyncRedis: TypeAlias = Any

_CONNECT_TIMEOUT = 3
_COMMAND_TIMEOUT = 5


@cache
def sync_client(url: str) -> SyncRedis:
    """For short commands from threads. A server that hangs fails the command after 5 s."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_TIMEOUT,
        socket_timeout=_COMMAND_TIMEOUT,
        health_check_interval=25,
        max_connections=256,
    )


def impatient_client(url: str) -> SyncRedis:
    """For a thread that tries again by itself: a command fails at once, or after 2 s at most."""
    return redis.Redis.from_url(
        url,
        socket_connect_timeout=2,
        socket_timeout=2,
        health_check_interval=25,
        max_connections=2,
        retry=None,  # by default a lost server is asked again for some seconds
    )


def async_client(url: str) -> redis.asyncio.Redis:
    """For blocking reads on one event loop; the caller bounds each read by its BLOCK argument."""
    return redis.asyncio.Redis.from_url(
        url,
        socket_connect_timeout=_CONNECT_TIMEOUT,
        socket_timeout=None,
        health_check_interval=25,
        max_connections=4096,
    )
