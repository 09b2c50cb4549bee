"""Puts a worker together and takes it apart again, on Celery's signals.

Only a worker process does this: importing the tasks elsewhere starts nothing.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from django.conf import settings

from inference.dispatch import BrokerUnavailableError, queue_of, ring, ring_many
from inference.protocol import GenerationJob
from inference.worker.batch_lane import BatchLane
from inference.worker.batch_watch import BatchWatch
from inference.worker.engine_figures import EngineFigures
from inference.worker.engine_pool import EnginePool
from inference.worker.engine_process import ENGINE_COMMAND, TRACING
from inference.worker.forwarding import Forwarder
from inference.worker.generation import JobRunner
from inference.worker.heartbeat import Heartbeat
from inference.worker.load_orders import order_for
from inference.worker.model_events import ModelEvents, tell_eviction
from inference.worker.puller import Puller
from inference.worker.reaper import Reaper
from inference.worker.reconciler import Reconciler
from inference.worker.sweeper import Sweeper
from llamagpu.lib.garbage import look_seldom
from llamagpu.lib.memory import available_bytes
from llamagpu.lib.redis_client import sync_client
from monitoring.configuration import current, freeze
from monitoring.logs.handler import start_log_store
from monitoring.metrics import REGISTRY
from monitoring.metrics.flusher import start_flushing, stop_flushing
from monitoring.trace_start import start_tracing
from plugins_app.registry import PluginRegistry
from plugins_app.watcher import PluginWatch

logger = logging.getLogger(__name__)

#: Seconds for running requests to end at shutdown, within the ten that `manage.py serve` has.
DRAIN_TIMEOUT = 4.0
_CLOSE_TIMEOUT = 2.0
_PLUGINS_TIMEOUT = 10.0


class WorkerRuntime:
    """Everything that one worker process runs besides Celery itself."""

    def __init__(self, name: str) -> None:
        client = sync_client(settings.REDIS_URL)
        instance = secrets.token_hex(6)
        self._engines = EnginePool(
            order_for,
            ENGINE_COMMAND,
            memory_limit=current().max_memory_bytes,
            on_evict=tell_eviction,
        )
        self._forwarder = Forwarder(client, name, self._engines)
        self._plugins = PluginRegistry(client, name)
        self._runner = JobRunner(client, name, instance, self._engines, self._plugins)
        self._batches = BatchLane(
            self._runner, current().num_slots, self._engines.reports, available_bytes
        )
        self._reconciler = Reconciler(client, self._engines, worker=name)
        self._heartbeat = Heartbeat(
            client,
            name,
            instance,
            self._engines,
            num_active=lambda: self._runner.num_active,
            generations=lambda: self._reconciler.generations,
            events=ModelEvents(name),
        )
        self._puller = Puller(client, name, instance)
        self._figures = EngineFigures(
            name, self._engines.reports, num_active=lambda: self._runner.num_active
        )
        self._reaper = Reaper(client)
        self._sweeper = Sweeper()
        self._batch_watch = BatchWatch(client)
        self._plugin_watch = PluginWatch(client)

    def prepare(self) -> None:
        """Before the first job comes: the plugins that it must pass, as far as they can be loaded."""
        self._plugins.start()
        if not self._plugins.wait_settled(_PLUGINS_TIMEOUT):
            logger.warning(
                "not all plugins are loaded yet; those that are fail_closed end requests"
            )

    def start(self) -> None:
        """Report for duty, load what is wanted, look after forgotten jobs."""
        REGISTRY.add_source(self._figures.update)
        start_log_store(settings.REDIS_URL, "worker")
        if start_tracing("worker"):
            TRACING["ENGINE_TRACE_ENDPOINT"] = settings.LLAMA.trace_endpoint
        start_flushing(settings.REDIS_URL, "worker")
        self._heartbeat.start()
        self._reaper.start()
        self._sweeper.start()
        self._batch_watch.start()
        self._plugin_watch.start()
        self._reconciler.start()
        self._puller.start()

    def run(self, job: GenerationJob, *, is_addressed: bool = False) -> None:
        """Run a job, or pass it on to whom it belongs, unless it was sent to this worker alone."""
        queue = None if is_addressed else self._forwarder.elsewhere(job.model)
        if queue is None or not _passed_on(lambda: ring(job, queue)):
            self._runner.run(job)

    def run_many(
        self, job_ids: Sequence[str], traceparent: str = "", *, is_addressed: bool = False
    ) -> None:
        """Take the jobs of a batch and come back before they have run; or pass them on as `run` does."""
        queue = None if is_addressed else self._forwarder.elsewhere_of(job_ids)
        if queue is None or not _passed_on(lambda: ring_many(job_ids, queue, traceparent)):
            self._batches.take(job_ids, traceparent)

    def drain(self) -> None:
        """Stop taking jobs, let running ones end for a few seconds, end the engines."""
        self._batch_watch.close(_CLOSE_TIMEOUT)
        self._batches.drain()
        self._runner.drain()
        self._puller.close(_CLOSE_TIMEOUT)
        self._reconciler.close(_CLOSE_TIMEOUT)
        self._heartbeat.close(_CLOSE_TIMEOUT)
        self._reaper.close(_CLOSE_TIMEOUT)
        self._sweeper.close(_CLOSE_TIMEOUT)
        self._plugin_watch.close(_CLOSE_TIMEOUT)
        self._engines.close(DRAIN_TIMEOUT)

    def close(self) -> None:
        self._runner.close(_CLOSE_TIMEOUT)
        self._plugins.close(_CLOSE_TIMEOUT)  # no request is under way any more
        REGISTRY.remove_source(self._figures.update)
        stop_flushing()


def _passed_on(send: Callable[[], None]) -> bool:
    try:
        send()
    except BrokerUnavailableError as error:
        logger.warning("a job could not be passed on, it runs here: %s", error)
        return False
    return True


_runtime: WorkerRuntime | None = None
_drain: threading.Thread | None = None


def current_runtime() -> WorkerRuntime:
    """The runtime of this worker process. Raises RuntimeError in any other process."""
    if _runtime is None:
        raise RuntimeError("inference jobs run only inside a Celery worker")
    return _runtime


@celeryd_init.connect
def _configure(conf: Any = None, **kwargs: Any) -> None:
    """Before Celery makes its pool: what the database says of this worker holds from here on."""
    conf.worker_concurrency = freeze().worker_concurrency


@celeryd_after_setup.connect
def _listen(sender: Any = None, instance: Any = None, **kwargs: Any) -> None:
    """To the common queue, and to one that is this worker's alone."""
    instance.app.amqp.queues.select_add(queue_of(str(sender)))


@worker_init.connect
def _assemble(sender: Any = None, **kwargs: Any) -> None:
    global _runtime
    _runtime = WorkerRuntime(str(sender.hostname))
    _runtime.prepare()


@worker_ready.connect
def _start(**kwargs: Any) -> None:
    look_seldom()
    current_runtime().start()


@worker_shutting_down.connect
def _begin_drain(**kwargs: Any) -> None:
    """Runs inside a signal handler, so the work is done by a thread."""
    global _drain
    if _drain is None:
        _drain = threading.Thread(target=current_runtime().drain, name="drain")
        _drain.start()


@worker_shutdown.connect
def _close(**kwargs: Any) -> None:
    if _drain is not None:
        _drain.join()
    current_runtime().close()
