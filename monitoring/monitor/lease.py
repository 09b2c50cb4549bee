"""One holder of a name among all monitors: who samples a node, who does the work of the cluster."""

from __future__ import annotations

import time
from collections.abc import Callable

from llamagpu.lib.redis_client import SyncRedis

# Takes a free lease, or makes one's own last longer; else answers 0.
_KEEP = """
local holder = redis.call('get', KEYS[1])
if holder and holder ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[1], 'px', ARGV[2])
return 1
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""


class Lease:
    """`holder` is unique for each start of a process. Redis's clock alone decides when it runs out."""

    def __init__(
        self,
        client: SyncRedis,
        key: str,
        holder: str,
        *,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._key = key
        self._holder = holder
        self._seconds = seconds
        self._clock = clock
        self._held_until = float("-inf")

    @property
    def is_held(self) -> bool:
        """Whether it was ours when Redis was last asked, and cannot have run out since."""
        return self._clock() < self._held_until

    @property
    def is_fresh(self) -> bool:
        """Whether most of its time is still to come: there is no need to ask yet."""
        return self._held_until - self._clock() > 0.6 * self._seconds

    def keep(self) -> bool:
        """Take it or hold on to it. Raises RedisError; what is held then lasts until it runs out."""
        asked_at = self._clock()
        kept = self._client.eval(_KEEP, 1, self._key, self._holder, int(self._seconds * 1000))
        self._held_until = asked_at + self._seconds if kept else float("-inf")
        return bool(kept)

    def release(self) -> None:
        """Let another one have it at once. Raises RedisError."""
        self._held_until = float("-inf")
        self._client.eval(_RELEASE, 1, self._key, self._holder)
