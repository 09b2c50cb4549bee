"""Jobs that came to the wrong worker, and those that wait for one that is gone, find their way.

A worker takes from the common queue what it holds, and passes on what another one holds or shall hold;
what was sent to it alone it runs. Queues of workers that are gone are emptied into the common one.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import redis
from django.db import Error, connections

from inference.admission import queue_list
from inference.dispatch import QUEUE, queue_of
from inference.models import InferenceJob, Model
from inference.placement import least_busy
from inference.presence import live_workers
from inference.routing import candidates_for
from inference.worker.engine_pool import EnginePool
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

_QUEUES = "lg:queues"
# Messages that one look moves at most: the next one goes on.
_MAX_MOVES = 1000


class Forwarder:
    """For the worker of this name."""

    def __init__(self, client: SyncRedis, worker: str, engines: EnginePool) -> None:
        self._client = client
        self._worker = worker
        self._engines = engines

    def elsewhere(self, slug: str) -> str | None:
        """The queue of another worker that shall run a job of this model; None: run it here."""
        if slug in self._engines.generations():
            return None
        try:
            workers = live_workers(self._client)
            if len(workers) < 2:
                return None
            model = Model.objects.filter(slug=slug).first()
        except (Error, redis.RedisError) as error:
            logger.warning("who shall run a job of '%s' is not known: %s", slug, error)
            return None
        finally:
            connections.close_all()
        if model is None:
            return None
        candidates = candidates_for(model, workers)
        if self._worker in {worker.name for worker in candidates} or not candidates:
            return None
        return queue_of(least_busy(slug, candidates, {}).name)

    def elsewhere_of(self, job_ids: Collection[str]) -> str | None:
        """The same for jobs of one batch, which are all of one model."""
        try:
            row = InferenceJob.objects.filter(pk__in=list(job_ids)[:1]).select_related("model")
            slug = row.values_list("model__slug", flat=True).first()
        except Error:
            return None
        finally:
            connections.close_all()
        return None if slug is None else self.elsewhere(slug)


def rescue_messages(client: SyncRedis, worker: str) -> int:
    """Move what waits for workers that are gone to the common queue; how many. Raises RedisError.

    Each message is moved in one step: a crash in between loses none. `worker` is who does it: its own
    queue is noted, so that others find it later.
    """
    client.sadd(_QUEUES, worker)
    named = {name.decode() for name in client.smembers(_QUEUES)}
    alive = {worker.name for worker in live_workers(client)}
    if not alive:
        return 0
    moved = 0
    for name in named - alive:
        source = queue_list(queue_of(name))
        while moved < _MAX_MOVES and client.lmove(
            source, queue_list(QUEUE), src="RIGHT", dest="LEFT"
        ):
            moved += 1
        if not client.llen(source):
            client.srem(_QUEUES, name)
    if moved:
        logger.warning("%s messages of workers that are gone were taken over", moved)
    return moved
