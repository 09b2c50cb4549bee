"""What processes count arrives in Redis once, merges there, and survives its processes."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from typing import Any

import pytest

from llamagpu.lib.redis_client import impatient_client
from monitoring.metrics import Counter, Gauge, Histogram, Merge, Registry, storage
from monitoring.metrics.flusher import Flusher
from monitoring.metrics.histograms import LATENCY_BUCKETS, observed, percentile
from monitoring.metrics.reading import read_snapshot


class Process:
    """One process's families and flusher."""

    def __init__(self, client: Any) -> None:
        registry = Registry()
        self.calls = Counter("calls_total", "Calls.", ("door",), registry=registry)
        self.seconds = Histogram("seconds", "Seconds.", ("model",), registry=registry)
        self.running = Gauge("running", "Running.", ("model",), registry=registry)
        self.oldest = Gauge("oldest", "Oldest.", merge=Merge.MAX, registry=registry)
        self.mode = Gauge("mode", "Mode.", merge=Merge.LAST, registry=registry)
        self.flusher = Flusher(client, "web", registry)


def test_counts_of_several_processes_add_up(redis_client: Any) -> None:
    one, two = Process(redis_client), Process(redis_client)
    values = [0.002, 0.03, 0.4, 5.0, 60.0, 1000.0]
    for process in (one, two):
        process.calls.inc(2, door="api")
        for value in values:
            process.seconds.observe(value, model="tiny")
        assert process.flusher.flush()
    one.calls.inc(0.5, door="v1")
    assert one.flusher.flush()
    snapshot = read_snapshot(redis_client)
    assert snapshot.counter("calls_total", door="api") == 4
    assert snapshot.counter("calls_total") == 4.5
    found = snapshot.histogram("seconds", model="tiny")
    expected = observed(values * 2, LATENCY_BUCKETS)
    assert found is not None
    assert found.counts == expected.counts
    assert found.total == pytest.approx(expected.total)
    assert percentile(found, 0.5) == percentile(expected, 0.5)
    assert snapshot.values_of("calls_total", "door") == ["api", "v1"]


def test_gauges_merge_by_their_rule_and_go_with_their_process(redis_client: Any) -> None:
    one, two = Process(redis_client), Process(redis_client)
    one.running.set(2, model="tiny")
    one.oldest.set(7)
    two.running.set(3, model="tiny")
    two.oldest.set(4)
    two.mode.set(1)
    one.mode.set(2)
    assert one.flusher.flush() and two.flusher.flush()
    snapshot = read_snapshot(redis_client)
    assert snapshot.gauge("running", model="tiny") == 5
    assert snapshot.gauge("oldest") == 7
    assert snapshot.gauge("mode") == 2
    assert {process.role for process in snapshot.processes} == {"web"}
    assert 0 < redis_client.ttl(storage.GAUGES + one.flusher.process) <= storage.GAUGE_LIFETIME
    one.flusher.close()
    assert read_snapshot(redis_client).gauge("running", model="tiny") == 3
    assert read_snapshot(redis_client).gauge("running", model="none") is None


def test_a_dead_process_leaves_its_counts(redis_client: Any, valkey: str) -> None:
    """Killed without warning after a flush: what it had sent stays."""
    program = (
        "import os, signal, redis\n"
        "from monitoring.metrics import Counter, Registry\n"
        "from monitoring.metrics.flusher import Flusher\n"
        "registry = Registry()\n"
        "calls = Counter('calls_total', 'Calls.', ('door',), registry=registry)\n"
        "calls.inc(41, door='api')\n"
        f"Flusher(redis.Redis.from_url({valkey!r}), 'web', registry).flush()\n"
        "calls.inc(1000, door='api')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -9
    assert read_snapshot(redis_client).counter("calls_total") == 41


def test_while_redis_is_away_counts_wait(valkey: str, redis_client: Any) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound but not listening: every connection is refused
        away = impatient_client(f"redis://127.0.0.1:{closed.getsockname()[1]}")
        process = Process(away)
        process.calls.inc(3, door="api")
        assert not process.flusher.flush()
        process.calls.inc(4, door="api")
        assert not process.flusher.flush()
    process.flusher._client = redis_client
    assert process.flusher.flush()
    assert read_snapshot(redis_client).counter("calls_total") == 7


class LostAnswers:
    """A relay to the server that cuts the connection before the answer to an EXEC comes back."""

    def __init__(self, server: str) -> None:
        self._server = server.removeprefix("unix://").split("?")[0]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.is_cutting = True
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client, socket.socket(socket.AF_UNIX) as server:
                server.connect(self._server)
                while data := client.recv(65536):
                    server.sendall(data)
                    answer = server.recv(65536)
                    if self.is_cutting and b"EXEC" in data:
                        break
                    client.sendall(answer)


def test_a_batch_whose_answer_was_lost_counts_once(valkey: str, redis_client: Any) -> None:
    relay = LostAnswers(valkey)
    process = Process(impatient_client(f"redis://127.0.0.1:{relay.port}"))
    process.calls.inc(5, door="api")
    assert not process.flusher.flush()
    process.calls.inc(1, door="api")
    relay.is_cutting = False
    assert process.flusher.flush()
    assert read_snapshot(redis_client).counter("calls_total") == 6


def test_the_thread_sends_the_rest_at_its_end(redis_client: Any) -> None:
    process = Process(redis_client)
    process.flusher.start()
    process.calls.inc(9, door="api")
    process.flusher.close()
    assert read_snapshot(redis_client).counter("calls_total") == 9


def test_what_an_older_version_left_is_passed_over(redis_client: Any) -> None:
    process = Process(redis_client)
    process.calls.inc(door="api")
    process.seconds.observe(0.5, model="tiny")
    assert process.flusher.flush()
    redis_client.hincrby(storage.COUNTS, "calls_total", 7)  # it had no labels then
    redis_client.hincrby(storage.COUNTS, "gone_total\x1fapi", 7)
    redis_client.hincrby(storage.COUNTS, "seconds\x1ftiny\x1f0.7", 2)  # and another bucket
    redis_client.hset(storage.FAMILIES, "odd", "not JSON")
    redis_client.zadd(storage.PROCESSES, {"odd": 1})
    redis_client.set(storage.GAUGES + "odd", "not JSON")
    snapshot = read_snapshot(redis_client)
    assert snapshot.counter("calls_total") == 1
    found = snapshot.histogram("seconds")
    assert found is not None and found.count == 3 and 0.7 in found.bounds


def test_too_many_series_begin_anew(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_FIELDS", 2)
    first = Process(redis_client)
    for door in ("api", "v1", "other"):
        first.calls.inc(door=door)
    assert first.flusher.flush()
    second = Process(redis_client)
    second.flusher._begin_anew_where_full()
    assert read_snapshot(redis_client).counter("calls_total") == 0
