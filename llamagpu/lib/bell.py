"""Wakes whoever waits for a change that the database holds, over a channel of Redis.

A ring may be lost: who waits also looks by itself, the database is the truth.
"""

from __future__ import annotations

import logging

import redis

from llamagpu.lib.redis_client import SyncRedis, sync_client

logger = logging.getLogger(__name__)


def ring(redis_url: str, channel: str) -> None:
    """Have everybody who waits look now. A Redis that is away is no obstacle."""
    try:
        sync_client(redis_url).publish(channel, b"")
    except redis.RedisError as error:
        logger.warning("nobody was told of a change at %s: %s", channel, error)


class Bell:
    """The listening end, for one thread."""

    def __init__(self, client: SyncRedis, channel: str) -> None:
        self._client = client
        self._channel = channel
        self._subscription: SyncRedis | None = None

    def wait(self, timeout: float) -> bool:
        """Whether it was rung within `timeout` seconds. Raises RedisError."""
        try:
            if self._subscription is None:
                self._subscription = self._client.pubsub(ignore_subscribe_messages=True)
                self._subscription.subscribe(self._channel)
            return self._subscription.get_message(timeout=timeout) is not None
        except redis.RedisError:
            self.close()
            raise

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
