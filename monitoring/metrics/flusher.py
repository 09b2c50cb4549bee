"""Sends once a second what a process has counted: one transaction, deltas only.

- Redis away: deltas add up in memory, as many numbers as there are series, and go out later.
- An answer that was lost: each batch is numbered, and the number is written with it, so it counts once.
- A process that crashes loses at most the last second; what it sent stays.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import redis

from llamagpu.lib.redis_client import SyncRedis, impatient_client
from monitoring.metrics import storage
from monitoring.metrics.families import Gauge
from monitoring.metrics.registry import REGISTRY, Registry

logger = logging.getLogger(__name__)

INTERVAL = 1.0
# One command for all: a client packs hundreds of them slower than the server adds them up.
_ADD = "for i = 1, #ARGV, 2 do redis.call('hincrbyfloat', KEYS[1], ARGV[i], ARGV[i + 1]) end"
_BATCH_MEMORY = 86_400
_FORGET_PROCESSES = 3600.0
# Redis may have lost what the names mean.
_TELL_FAMILIES = 60.0


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is on its way: numbers by field, to be written exactly once."""

    number: int
    changes: Mapping[str, float]


class Flusher:
    def __init__(self, client: SyncRedis, role: str, registry: Registry = REGISTRY) -> None:
        self._client = client
        self._role = role
        self._registry = registry
        self._node = socket.gethostname()
        self.process = f"{role}:{self._node}:{os.getpid()}:{secrets.token_hex(4)}"
        self._started_at = time.time()
        self._batch: _Batch | None = None
        self._number = 0
        self._told: tuple[frozenset[str], float] = (frozenset(), 0.0)
        self._is_away = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout: float = 2.0) -> None:
        """Send the rest and withdraw this process's gauges."""
        if self._stop.is_set():
            return
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        if not self.flush():
            return
        try:
            self._client.delete(storage.GAUGES + self.process)
            self._client.zrem(storage.PROCESSES, self.process)
        except redis.RedisError as error:
            logger.debug("the gauges of this process will expire: %s", error)

    def flush(self) -> bool:
        """Whether all that was counted until now has been written."""
        with self._lock:
            try:
                # One that is still on its way goes first, alone: it may have been written already.
                if self._batch is not None:
                    self._settle(self._batch)
                if not self._stop.is_set():  # the gauges are about to go
                    self._registry.ask_sources()
                self._batch = self._gather()
                self._write(self._batch)
                self._batch = None
            except redis.RedisError as error:
                self._note_away(error)
                return False
        if self._is_away:
            self._is_away = False
            logger.info("metrics are written again")
        return True

    def _run(self) -> None:
        self._begin_anew_where_full()
        while not self._stop.wait(INTERVAL):
            try:
                self.flush()
            except Exception:  # a defect here must not end the counting of a process
                logger.exception("metrics could not be sent")

    def _gather(self) -> _Batch:
        changes: dict[str, float] = {}
        for family in self._registry.families():
            changes.update(storage.changes_of(family))
        self._number += 1
        return _Batch(self._number, changes)

    def _settle(self, batch: _Batch) -> None:
        """Write a batch whose fate is unknown, unless its number says that it is there."""
        known = self._client.get(storage.BATCHES + self.process)
        if known is None or int(known) != batch.number:
            self._write(batch)
        self._batch = None

    def _write(self, batch: _Batch) -> None:
        pipe = self._client.pipeline(transaction=True)
        if batch.changes:
            fields = itertools.chain.from_iterable(batch.changes.items())
            pipe.eval(_ADD, 1, storage.COUNTS, *fields)
            pipe.set(storage.BATCHES + self.process, batch.number, ex=_BATCH_MEMORY)
        now = time.time()
        gauges = msgspec.json.encode(self._gauges(now))
        pipe.set(storage.GAUGES + self.process, gauges, ex=storage.GAUGE_LIFETIME)
        pipe.zadd(storage.PROCESSES, {self.process: now})
        pipe.zremrangebyscore(storage.PROCESSES, 0, now - _FORGET_PROCESSES)
        told = self._tell_families(pipe)
        pipe.execute()
        self._told = told

    def _tell_families(self, pipe: SyncRedis) -> tuple[frozenset[str], float]:
        """Once a minute, and as soon as there is a new one."""
        families = self._registry.families()
        names = frozenset(family.name for family in families)
        now = time.monotonic()
        if not families or (names <= self._told[0] and now - self._told[1] < _TELL_FAMILIES):
            return self._told
        described = {
            family.name: msgspec.json.encode(storage.describe(family)) for family in families
        }
        pipe.hset(storage.FAMILIES, mapping=described)
        return names, now

    def _gauges(self, now: float) -> storage.ProcessGauges:
        values = [
            storage.GaugeValue(family.name, key, value, set_at)
            for family in self._registry.families()
            if isinstance(family, Gauge)
            for key, (value, set_at) in family.values().items()
        ]
        return storage.ProcessGauges(
            self.process, self._role, self._node, os.getpid(), self._started_at, now, values
        )

    def _begin_anew_where_full(self) -> None:
        """Names of models that are long gone fill the counts; whoever reads takes it for a restart."""
        try:
            if self._client.hlen(storage.COUNTS) > storage.MAX_FIELDS:
                logger.warning("there are too many series: all counts begin at zero")
                self._client.delete(storage.COUNTS)
        except redis.RedisError as error:
            self._note_away(error)

    def _note_away(self, error: Exception) -> None:
        if not self._is_away:
            self._is_away = True
            logger.warning("metrics wait in memory: %s", error)


_flusher: Flusher | None = None


def start_flushing(redis_url: str, role: str) -> Flusher:
    """Begin to send what this process counts, until it ends. Only processes that serve do so."""
    global _flusher
    if _flusher is None:
        _flusher = Flusher(impatient_client(redis_url), role)
        _flusher.start()
        atexit.register(_flusher.close)
    return _flusher


def stop_flushing() -> None:
    """Send the rest: the process is about to end."""
    global _flusher
    if _flusher is not None:
        _flusher.close()
        atexit.unregister(_flusher.close)
        _flusher = None
