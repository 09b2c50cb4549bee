"""Wakes the workers when somebody wants something else of a plugin.

A ring may be lost: workers also ask `wanted_generation` every second, the database is the truth.
"""

from __future__ import annotations

import logging

import redis
from django.conf import settings

from llamagpu.lib.redis_client import SyncRedis, sync_client

logger = logging.getLogger(__name__)

_CHANNEL = "lg:plugins"


def ring() -> None:
    """Have every worker look now. A Redis that is away is no obstacle."""
    try:
        sync_client(settings.REDIS_URL).publish(_CHANNEL, b"")
    except redis.RedisError as error:
        logger.warning("the workers were not told of a change of plugins: %s", error)


class Bell:
    """The listening end, for one thread."""

    def __init__(self, client: SyncRedis) -> None:
        self._client = client
        self._subscription: SyncRedis | None = None

    def wait(self, timeout: float) -> bool:
        """Whether it was rung within `timeout` seconds. Raises RedisError."""
        try:
            if self._subscription is None:
                self._subscription = self._client.pubsub(ignore_subscribe_messages=True)
                self._subscription.subscribe(_CHANNEL)
            return self._subscription.get_message(timeout=timeout) is not None
        except redis.RedisError:
            self.close()
            raise

    def close(self) -> None:
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
