"""Rings, every two seconds, for batches of files that nobody drives: message or driver was lost."""

from __future__ import annotations

import logging
import threading
import uuid

import redis
from django.db import Error

from inference.batch_bell import ring_batch
from inference.dispatch import BrokerUnavailableError
from inference.models import FileBatch
from llamagpu.http.database import keep_connections, release_connections
from llamagpu.lib.prepared_query import PreparedQuery
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

_INTERVAL = 2.0
#: Batches that are driven at once, the oldest first: each keeps a thread of a worker.
MAX_DRIVEN = 8

_LIVE: PreparedQuery[tuple[uuid.UUID]] = PreparedQuery(
    lambda: FileBatch.objects.live().order_by("created_at", "pk").values_list("pk")[:MAX_DRIVEN]
)


class BatchWatch:
    """Several may run: a mark in Redis lets only one of them ring."""

    def __init__(self, client: SyncRedis) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="batch-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        keep_connections()
        while not self._stop.wait(_INTERVAL):
            self.look()

    def look(self) -> int:
        """Ring where it is needed; for how many. What fails is tried again at the next look."""
        try:
            return sum(ring_batch(self._client, batch_id) for (batch_id,) in _LIVE.rows())
        except (redis.RedisError, Error, BrokerUnavailableError) as error:
            logger.warning("batches of files were not rung for: %s", error)
            return 0
        finally:
            release_connections()
