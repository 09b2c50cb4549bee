"""Brings this worker's engines in step with what the database wants of each model.

It looks every few seconds and whenever the bell rings: what is wanted is loaded, engines of an older
generation, of a disabled model or without use for too long are drained and ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis
from django.db import Error, connections

from inference.model_bell import Bell
from inference.model_control import forget_idle_model
from inference.worker.engine_pool import EnginePool
from inference.worker.load_orders import DesiredModel, desired_models
from llamagpu.lib.redis_client import SyncRedis

logger = logging.getLogger(__name__)

#: Seconds that the requests of a model have to end when it is unloaded.
DRAIN_TIMEOUT = 30.0
_INTERVAL = 2.0
# Between a request's coming for an engine and its arrival there: no engine is idle so soon.
_LEAST_IDLE = 1.0


class Reconciler:
    def __init__(
        self,
        client: SyncRedis,
        engines: EnginePool,
        read: Callable[[], list[DesiredModel]] = desired_models,
    ) -> None:
        self._bell = Bell(client)
        self._engines = engines
        self._read = read
        #: By model, the generation that this worker has taken up.
        self.generations: dict[str, int] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        self._stop.set()
        self._thread.join(timeout)

    def reconcile(self) -> None:
        """One look. Raises django.db.Error; the next look goes on."""
        desired = {model.slug: model for model in self._read()}
        for slug in self._engines.generations().keys() - desired.keys():
            self._engines.release(slug)
            self._engines.unload(slug, drain_timeout=DRAIN_TIMEOUT, generation=0)
        for model in desired.values():
            self._tend(model)
        self.generations = {model.slug: model.generation for model in desired.values()}

    def _tend(self, model: DesiredModel) -> None:
        if not model.is_wanted:
            self._engines.release(model.slug)
        present = self._engines.generations().get(model.slug)
        if present is not None and present != model.generation:
            self._engines.unload(
                model.slug, drain_timeout=DRAIN_TIMEOUT, generation=model.generation
            )
        elif present is not None and model.idle_limit is not None:
            self._unload_if_idle(model, model.idle_limit)
        elif model.is_wanted:
            self._engines.keep(model.slug)

    def _unload_if_idle(self, model: DesiredModel, limit: int) -> None:
        if model.is_wanted:
            self._engines.keep(model.slug)
        began = self._engines.unload(
            model.slug,
            drain_timeout=DRAIN_TIMEOUT,
            generation=model.generation,
            idle_for=max(float(limit), _LEAST_IDLE),
        )
        if began:
            logger.info("'%s' was not asked for %s seconds", model.slug, limit)
            self._engines.release(model.slug)
            forget_idle_model(slug=model.slug, generation=model.generation)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.reconcile()
            except Error as error:
                logger.warning("what models are wanted is not known: %s", error)
            except Exception:  # the thread must live on: without it nothing is loaded or unloaded
                logger.exception("the engines could not be brought in step")
            finally:
                connections.close_all()
            try:
                self._bell.wait(_INTERVAL)
            except redis.RedisError as error:
                logger.warning("the bell of the models is not heard: %s", error)
                self._stop.wait(_INTERVAL)
        self._bell.close()
