"""Sends a process's log lines to the store, from a thread of its own.

Whoever logs never waits and never fails for it: lines lie in a bounded queue until the thread sends
them, and what is too much in a second, or too much while Redis is away, is dropped and counted.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

import redis

from llamagpu.lib.log_format import fields_of, name_component
from llamagpu.lib.redis_client import SyncRedis, impatient_client
from monitoring.logs.store import LogLine, append

#: Lines that one process may tell within a second, and that wait while Redis is away.
MAX_PER_SECOND = 100
MAX_WAITING = 1000
_INTERVAL = 0.5
_AT_ONCE = 200


class LogStoreHandler(logging.Handler):
    """`start` it in a process that serves."""

    def __init__(self, client: SyncRedis, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._client = client
        self._clock = clock
        self._node = socket.gethostname()
        self._waiting: deque[LogLine] = deque()
        self._second, self._num_in_second = 0.0, 0
        self.num_dropped = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Never blocks, never raises: a log that fails is no reason to fail."""
        if threading.current_thread() is self._thread:
            return  # what sending itself says would be sent for ever
        try:
            now = self._clock()
            if now - self._second >= 1:
                self._second, self._num_in_second = now, 0
            self._num_in_second += 1
            if self._num_in_second > MAX_PER_SECOND:
                self.num_dropped += 1
                return
            if len(self._waiting) >= MAX_WAITING:
                self._waiting.popleft()
                self.num_dropped += 1
            self._waiting.append(LogLine(node=self._node, **fields_of(record)))
        except Exception:  # noqa: BLE001  there is nowhere left to tell it
            self.num_dropped += 1

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout: float = 2.0) -> None:
        """Send the rest."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def send(self) -> bool:
        """What waits; False where Redis is away, and then it goes on to wait."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
            try:
                append(self._client, batch)
            except (redis.RedisError, OSError):
                room = MAX_WAITING - len(self._waiting)
                self.num_dropped += max(0, len(batch) - room)
                self._waiting.extendleft(reversed(batch[max(0, len(batch) - room) :]))
                return False
        if self.num_dropped:
            num, self.num_dropped = self.num_dropped, 0
            self._waiting.append(self._told_dropped(num))
        return True

    def _told_dropped(self, num: int) -> LogLine:
        record = logging.LogRecord(
            __name__, logging.WARNING, "", 0, "%d lines were not stored", (num,), None
        )
        return LogLine(node=self._node, **fields_of(record))

    def _run(self) -> None:
        while not self._stop.wait(_INTERVAL):
            self.send()
        self.send()
        self.send()  # also what was dropped


_running: LogStoreHandler | None = None


def start_log_store(redis_url: str, component: str) -> LogStoreHandler:
    """This process's lines go to the store from now on. Called twice it does nothing."""
    global _running
    name_component(component)
    if _running is None:
        _running = LogStoreHandler(impatient_client(redis_url))
        logging.getLogger().addHandler(_running)
        _running.start()
        os.register_at_fork(after_in_child=_forget)
        atexit.register(_running.stop)
    return _running


def _forget() -> None:
    """A fork has no thread that would send."""
    global _running
    if _running is not None:
        logging.getLogger().removeHandler(_running)
        _running = None
