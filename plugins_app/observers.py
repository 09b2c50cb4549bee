"""Tells observers how requests ended, behind the callers' backs: one thread, a bounded queue."""

from __future__ import annotations

import logging
import queue
import threading

from plugins_app.base import FinishedContext, Hook, PluginRefusal
from plugins_app.metrics import OBSERVATIONS_DROPPED
from plugins_app.pipeline import Chain, PluginSource
from plugins_app.runners.base import PluginFaultError

logger = logging.getLogger(__name__)

_ROOM = 1000


class Observers:
    """`tell` never waits: what finds the queue full is left out and counted."""

    def __init__(self, source: PluginSource, room: int = _ROOM) -> None:
        self._source = source
        self._queue: queue.Queue[FinishedContext | None] = queue.Queue(room)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self.num_dropped = 0

    def tell(self, context: FinishedContext) -> None:
        try:
            self._queue.put_nowait(context)
        except queue.Full:
            OBSERVATIONS_DROPPED.inc()
            with self._lock:
                self.num_dropped += 1
                is_first = self.num_dropped == 1
            if is_first:
                logger.warning("observers are too slow: ends of requests are left out")
            return
        self._ensure_thread()

    def close(self, timeout: float) -> None:
        """Tell what waits, for at most `timeout` seconds."""
        with self._lock:
            self._is_closed, thread = True, self._thread
        if thread is None:
            return
        try:
            self._queue.put(None, timeout=timeout)
        except queue.Full:
            return
        thread.join(timeout)

    def _ensure_thread(self) -> None:
        """Most installations have no observer, and none of this thread."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="observers", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while (context := self._queue.get()) is not None:
            try:
                self._deliver(context)
            except Exception:  # the next one may go well
                logger.exception("observers could not be told of %s", context.request_id)

    def _deliver(self, context: FinishedContext) -> None:
        with self._source.lease() as links:
            for link in Chain.of(links, context.model, context.role).links(Hook.FINISHED):
                try:
                    link.call(Hook.FINISHED, context)
                except (PluginRefusal, PluginFaultError) as error:
                    logger.warning("the observer '%s' failed: %s", link.spec.slug, error)
