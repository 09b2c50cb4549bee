"""Brings this worker's engines in step with what the database wants of each model.

It looks every few seconds and whenever the bell rings: what is wanted is loaded, engines of an older
generation, of a disabled model or without use for too long are drained and ended.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import redis
from django.db import Error

from inference.model_bell import Bell
from inference.model_control import forget_idle_model
from inference.placement import chosen_workers, engine_of
from inference.presence import WorkerReport, live_workers
from inference.states import ModelState
from inference.worker.engine_pool import EnginePool
from inference.worker.forwarding import rescue_messages
from inference.worker.load_orders import DesiredModel, desired_models
from llamagpu.http.database import keep_connections, release_connections
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
        worker: str = "",
    ) -> None:
        self._client = client
        self._worker = worker
        #: The workers of the last look that read them.
        self._workers: list[WorkerReport] = []
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
        self._engines.protect(model.slug for model in desired.values() if model.is_protected)
        if any(model.place for model in desired.values()):
            self._read_workers()
        for slug in self._engines.generations().keys() - desired.keys():
            self._engines.release(slug)
            generation = self._engines.generations().get(slug, 0) + 1  # as its row had it last
            self._engines.unload(slug, drain_timeout=DRAIN_TIMEOUT, generation=generation)
        for model in desired.values():
            self._tend(model)
        self.generations = {model.slug: model.generation for model in desired.values()}

    def _read_workers(self) -> None:
        """Without Redis, what was known stays."""
        try:
            self._workers = live_workers(self._client)
        except redis.RedisError as error:
            logger.warning("the other workers are not known: %s", error)

    def _is_surplus(self, model: DesiredModel) -> bool:
        """Whether other workers than this one shall hold the model."""
        if model.place is None or len(self._workers) < 2:
            return False
        return self._worker not in chosen_workers(model.place, self._workers)

    def _retire(self, model: DesiredModel) -> None:
        """Others shall hold the model: once they do, and nobody is at work on it here, it goes."""
        self._engines.release(model.slug)
        chosen = chosen_workers(model.place, self._workers) if model.place else ()
        serving = {
            worker.name
            for worker in self._workers
            if (engine := engine_of(worker, model.slug)) and engine.state is ModelState.READY
        }
        if serving.issuperset(chosen):
            self._engines.unload(
                model.slug,
                drain_timeout=DRAIN_TIMEOUT,
                generation=model.generation,
                idle_for=_LEAST_IDLE,
            )

    def _tend(self, model: DesiredModel) -> None:
        if self._is_surplus(model):
            self._retire(model)
            return
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
        keep_connections()
        while not self._stop.is_set():
            try:
                self.reconcile()
            except Error as error:
                logger.warning("what models are wanted is not known: %s", error)
            except Exception:  # the thread must live on: without it nothing is loaded or unloaded
                logger.exception("the engines could not be brought in step")
            finally:
                release_connections()
            try:
                rescue_messages(self._client, self._worker)
                self._bell.wait(_INTERVAL)
            except redis.RedisError as error:
                logger.warning("the bell of the models is not heard: %s", error)
                self._stop.wait(_INTERVAL)
        self._bell.close()
