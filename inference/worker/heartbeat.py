"""Tells the other processes, every second, that this worker lives and what it has loaded."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable

import redis

from inference.presence import WorkerReport, announce, withdraw
from inference.worker.engine_pool import EnginePool
from inference.worker.model_events import ModelEvents
from llamagpu.lib.memory import available_bytes
from llamagpu.lib.redis_client import SyncRedis
from monitoring.configuration import current, shown_restart_values

logger = logging.getLogger(__name__)

_INTERVAL = 1.0


class Heartbeat:
    def __init__(
        self,
        client: SyncRedis,
        worker: str,
        instance: str,
        engines: EnginePool,
        num_active: Callable[[], int],
        generations: Callable[[], dict[str, int]],
        events: ModelEvents | None = None,
    ) -> None:
        self._client = client
        self._worker = worker
        self._instance = instance
        self._engines = engines
        self._num_active = num_active
        self._generations = generations
        self._events = events
        self._started_unix = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float) -> None:
        """Withdraw: no new job is admitted on this worker's account."""
        self._stop.set()
        self._thread.join(timeout)
        try:
            withdraw(self._client, self._worker)
        except redis.RedisError as error:
            logger.warning("the worker could not withdraw: %s", error)

    def _run(self) -> None:
        while True:
            try:
                self._engines.ask_stats()
                report = self._report()
                announce(self._client, report)
                if self._events is not None:
                    self._events.note(report.engines)
            except redis.RedisError as error:
                logger.warning("no heartbeat: %s", error)
            if self._stop.wait(_INTERVAL):
                return

    def _report(self) -> WorkerReport:
        # Read before the engines: whoever sees a generation here sees at least its engines.
        generations = self._generations()
        return WorkerReport(
            name=self._worker,
            instance=self._instance,
            pid=os.getpid(),
            host=socket.gethostname(),
            started_unix=self._started_unix,
            num_active_jobs=self._num_active(),
            concurrency=current().worker_concurrency,
            engines=self._engines.reports(),
            rejected_backends=self._engines.rejected_backends(),
            generations=generations,
            freed=self._engines.freed(),
            memory_limit=self._engines.memory_limit,
            memory_available=available_bytes(),
            configuration=shown_restart_values(),
        )
