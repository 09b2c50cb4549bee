"""The monitor: samples its node, tells whoever watches, hands on to the history, and does its duties.

Of several monitors of one node one samples and the others stand by; of all monitors of an installation
one, the leader, measures what is served and does what is to be done once. Redis away: the node is sampled
into the history all the same. Database away: see `monitoring.history.recorder`.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence

import redis
from django.conf import settings

from llamagpu.lib.redis_client import SyncRedis, sync_client
from monitoring.collectors.node import NodeReader, NodeReading
from monitoring.collectors.processes import supervisor_of
from monitoring.configuration import LIFETIME, current, refresh
from monitoring.history.recorder import Recorder
from monitoring.live_events import INFERENCE_STATS, SYSTEM_METRICS, latest, publish
from monitoring.logs.handler import start_log_store
from monitoring.metrics.flusher import start_flushing, stop_flushing
from monitoring.metrics.reading import snapshot
from monitoring.monitor import node_metrics
from monitoring.monitor.contributions import read_load
from monitoring.monitor.duties import Duty, DutyRunner, registered_duties
from monitoring.monitor.inference_meter import InferenceMeter, active_requests
from monitoring.monitor.inference_totals import totals_of
from monitoring.monitor.lease import Lease
from monitoring.monitor.node_sampler import node_sample
from monitoring.monitor.presence import MonitorReport, announce, withdraw
from monitoring.monitor.system_metrics import describe_node

logger = logging.getLogger(__name__)

_LEASE_SECONDS = 10.0
_RECORD_EVERY = 5.0
# More often than what is known of the configuration grows stale.
_CONFIGURE_EVERY = LIFETIME / 2
_CLOSE_TIMEOUT = 1.0


class Monitor:
    """`run` until `stop`. `node` is this machine's name."""

    def __init__(
        self,
        *,
        node: str | None = None,
        client: SyncRedis | None = None,
        reader: NodeReader | None = None,
        duties: Sequence[Duty] | None = None,
        is_counting: bool = True,
    ) -> None:
        self.node = (node or socket.gethostname())[:64]
        self._instance = secrets.token_hex(6)
        self._client = client or sync_client(settings.REDIS_URL)
        config = settings.LLAMA
        folders = (config.data_dir, config.model_path)
        self._reader = reader or NodeReader(folders, root=supervisor_of(os.getpid()))
        longest = _LEASE_SECONDS + current().metrics_interval
        self._seat = self._lease(f"lg:monitor:seat:{self.node}", longest)
        self._leadership = self._lease("lg:monitor:leader", longest)
        self._meter = InferenceMeter()
        self._recorder = Recorder()
        recording = Duty("history", self._record, _RECORD_EVERY, by_leader=False)
        # Sampling asks for it every second, in a thread that holds no connection.
        configuring = Duty("configuration", refresh, _CONFIGURE_EVERY, by_leader=False)
        registered = registered_duties() if duties is None else duties
        own = [recording, configuring]
        self._duties = DutyRunner([*own, *registered], lambda: self._leadership.is_held)
        self._is_counting = is_counting
        self._started_unix = time.time()
        self._sampled_at: float | None = None
        self._per_second: float | None = None
        self._num_active: int | None = None
        self._is_redis_away = False
        self._stop = threading.Event()

    def run(self) -> None:
        """Sample at even distances; a reading that took too long leaves out those it has missed."""
        if self._is_counting:
            start_log_store(settings.REDIS_URL, "monitor")
            start_flushing(settings.REDIS_URL, "monitor")
        self._duties.start()
        due = time.monotonic()
        try:
            while not self._stop.is_set():
                self.tick()
                interval = current().metrics_interval
                now = time.monotonic()
                due = due + interval if due + interval > now else now + interval
                self._stop.wait(due - now)
        finally:
            self.close()

    def stop(self) -> None:
        """From a signal handler or another thread."""
        self._stop.set()

    def tick(self) -> None:
        """One reading, and all that follows from it."""
        is_ours = self._is_our_turn()
        if not is_ours:
            self._sampled_at = None
            node_metrics.forget()
            return
        reading = self._reader.read()
        node_metrics.note(self.node, reading)
        interval = float(current().metrics_interval)
        now = time.monotonic()
        elapsed = interval if self._sampled_at is None else now - self._sampled_at
        self._sampled_at = now
        # What lies between two distant readings was not watched.
        self._recorder.add(node_sample(self.node, reading, min(elapsed, 2 * interval)))
        if not self._is_redis_away:
            self._tell(reading, interval)

    def close(self) -> None:
        """Write what waits, and let another monitor go on at once."""
        self._duties.close(_CLOSE_TIMEOUT)
        self._record()
        try:
            withdraw(self._client, self.node) if self._seat.is_held else None
            for lease in (self._seat, self._leadership):
                lease.release()
        except redis.RedisError as error:
            logger.debug("the leases will run out: %s", error)
        if self._is_counting:
            stop_flushing()

    # ---------------------------------------------------------------- inside
    def _lease(self, key: str, seconds: float) -> Lease:
        return Lease(self._client, key, self._instance, seconds=seconds)

    def _is_our_turn(self) -> bool:
        """Whether we sample this node. Without Redis nobody can say who does, so all do: twice is no
        harm, never would be a gap."""
        if self._seat.is_fresh and self._leadership.is_fresh and not self._is_redis_away:
            return True
        try:
            is_ours = self._seat.keep()
            self._leadership.keep()
        except redis.RedisError as error:
            self._note_redis(error)
            return True
        self._note_redis(None)
        return is_ours

    def _tell(self, reading: NodeReading, interval: float) -> None:
        """Whoever watches, and whoever asks later."""
        try:
            self._measure_inference(reading.unix)
            announce(self._client, self._report(reading, interval))
        except redis.RedisError as error:
            self._note_redis(error)
            return
        data = describe_node(self.node, reading)
        data["active_requests"] = self._num_active
        data["requests_per_second"] = self._per_second
        publish(SYSTEM_METRICS, SYSTEM_METRICS, data)

    def _measure_inference(self, unix: float) -> None:
        """What is served, by the leader; every monitor tells how much that is."""
        load = read_load()
        self._num_active = active_requests(load)
        if not self._leadership.is_held:
            self._meter.forget()
            told = latest(INFERENCE_STATS)
            self._per_second = told["data"].get("requests_per_second") if told else None
            return
        measured = self._meter.measure(totals_of(snapshot(max_age=0)), load, unix)
        self._per_second = measured.stats["requests_per_second"]
        if measured.sample is not None:
            self._recorder.add(measured.sample)
        publish(INFERENCE_STATS, INFERENCE_STATS, measured.stats)

    def _report(self, reading: NodeReading, interval: float) -> MonitorReport:
        return MonitorReport(
            node=self.node,
            instance=self._instance,
            pid=os.getpid(),
            started_unix=self._started_unix,
            interval=interval,
            is_leader=self._leadership.is_held,
            dropped=self._recorder.dropped,
            reading=reading,
        )

    def _record(self) -> None:
        self._recorder.flush()

    def _note_redis(self, error: Exception | None) -> None:
        if error is not None and not self._is_redis_away:
            logger.warning("Redis is away, nobody sees what is measured now: %s", error)
        elif error is None and self._is_redis_away:
            logger.info("Redis is back")
        self._is_redis_away = error is not None
