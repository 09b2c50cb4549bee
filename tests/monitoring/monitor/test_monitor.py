"""The monitor as a whole, tick by tick, on a real Valkey and a real database; and as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings as project_settings

from inference.presence import EngineReport, WorkerReport
from inference.presence import announce as announce_worker
from inference.states import ModelState
from monitoring.collectors.gpu import GpuReader, GpuReaders
from monitoring.collectors.node import NodeReader
from monitoring.history.rows import read_samples
from monitoring.live_events import FIELD, INFERENCE_STATS, SYSTEM_METRICS, key_of
from monitoring.metrics import Counter, Registry
from monitoring.metrics.flusher import Flusher
from monitoring.models import MetricSample
from monitoring.monitor.presence import live_monitors
from monitoring.monitor.process import Monitor
from tests.environment import DATA_DIR, PROJECT_ROOT
from tests.monitoring.collectors.test_gpu import FakeNvml
from tests.monitoring.history.samples import figure

#: What the contract promises to watchers.
PROMISED = {
    "cpu_usage",
    "memory_usage",
    "gpu_usage",
    "gpu_memory",
    "active_requests",
    "requests_per_second",
}


def monitor(client: Any, node: str = "a", nvml: FakeNvml | None = None) -> Monitor:
    gpus = GpuReaders([GpuReader(nvml or FakeNvml(has_driver=False))])
    reader = NodeReader([Path(DATA_DIR)], root=os.getpid(), gpus=gpus)
    return Monitor(node=node, client=client, reader=reader, duties=[], is_counting=False)


def events(client: Any, stream: str) -> list[dict[str, Any]]:
    return [json.loads(fields[FIELD.encode()]) for _, fields in client.xrange(key_of(stream))]


def worker(**changes: Any) -> WorkerReport:
    engine = EngineReport("m", ModelState.READY, num_running=2, num_waiting=1, kv_cache_usage=0.25)
    facts: dict[str, Any] = {"num_active_jobs": 3, "concurrency": 8, "engines": (engine,)}
    return WorkerReport("w", "1", 1, "here", 0.0, **{**facts, **changes})


def test_watchers_get_what_the_contract_promises(redis_client: Any) -> None:
    monitor(redis_client).tick()
    (event,) = events(redis_client, SYSTEM_METRICS)
    assert event["event_type"] == "system_metrics"
    assert event["data"].keys() >= PROMISED
    assert 0 <= event["data"]["cpu_usage"] <= 100
    assert event["data"]["gpu_usage"] is None
    assert "Not Found" in event["data"]["gpu_reason"]
    assert event["data"]["active_requests"] == 0


def test_gpus_are_told_with_their_figures(redis_client: Any) -> None:
    monitor(redis_client, nvml=FakeNvml(num_gpus=2)).tick()
    (event,) = events(redis_client, SYSTEM_METRICS)
    assert (event["data"]["gpu_usage"], event["data"]["gpu_memory"]) == (42.0, 25.0)
    assert [gpu["index"] for gpu in event["data"]["gpus"]] == [0, 1]


def test_what_workers_do_is_told(redis_client: Any) -> None:
    announce_worker(redis_client, worker())
    monitor(redis_client).tick()
    (event,) = events(redis_client, INFERENCE_STATS)
    assert (event["data"]["workers"], event["data"]["active_requests"]) == (1, 3)
    assert event["data"]["models"]["m"]["running"] == 2
    assert events(redis_client, SYSTEM_METRICS)[0]["data"]["active_requests"] == 3


def test_what_was_counted_is_told_and_kept(redis_client: Any, db: None) -> None:
    registry = Registry()
    served = Counter(
        "request_success_total", "x", ("model_name", "finished_reason"), registry=registry
    )
    flusher = Flusher(redis_client, "worker", registry)
    watching = monitor(redis_client)
    watching.tick()
    served.inc(7, model_name="m", finished_reason="stop")
    flusher.flush()
    watching.tick()
    assert events(redis_client, INFERENCE_STATS)[-1]["data"]["requests"] == 7
    watching._record()
    (sample,) = read_samples(MetricSample.objects.filter(node=""))
    assert figure(sample, "requests") == 7
    assert sample.details.models["m"].sums[0] == 7
    assert MetricSample.objects.filter(node="a").exists()


def test_of_two_on_one_node_one_samples(redis_client: Any, db: None) -> None:
    first, second = monitor(redis_client), monitor(redis_client)
    first.tick()
    second.tick()
    assert len(events(redis_client, SYSTEM_METRICS)) == 1
    first.close()
    second.tick()
    assert len(events(redis_client, SYSTEM_METRICS)) == 2


def test_of_two_nodes_one_leads_and_the_other_tells_the_same_rate(redis_client: Any) -> None:
    first, second = monitor(redis_client, "a"), monitor(redis_client, "b")
    for _ in range(2):
        first.tick()
        second.tick()
    assert len(events(redis_client, INFERENCE_STATS)) == 2
    told = events(redis_client, SYSTEM_METRICS)
    assert [event["data"]["node"] for event in told] == ["a", "b", "a", "b"]
    assert told[-1]["data"]["requests_per_second"] == 0.0
    reports = live_monitors(redis_client)
    assert {node: report and report.is_leader for node, report in reports.items()} == {
        "a": True,
        "b": False,
    }


def test_one_that_ends_as_planned_is_not_missed(redis_client: Any, db: None) -> None:
    ending = monitor(redis_client)
    ending.tick()
    assert list(live_monitors(redis_client)) == ["a"]
    ending.close()
    assert live_monitors(redis_client) == {}
    assert MetricSample.objects.filter(node="a").count() == 1


def test_without_redis_the_history_goes_on(db: None, settings: Any) -> None:
    from llamagpu.lib.redis_client import sync_client

    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    alone = monitor(sync_client(settings.REDIS_URL))
    alone.tick()
    alone.close()
    assert MetricSample.objects.filter(node="a").count() == 1


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_the_process_publishes_and_ends_when_it_is_asked_to(redis_client: Any, valkey: str) -> None:
    from django.db import connection

    process = subprocess.Popen(
        [sys.executable, "manage.py", "monitor", "--node", "child"],
        cwd=PROJECT_ROOT,
        env={**os.environ, "REDIS_URL": project_settings.REDIS_URL, **_database(connection)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        last = "0"
        for _ in range(2):
            entries = next_entries(redis_client, last, process)
            last = entries[-1][0]
            event = json.loads(entries[-1][1][FIELD.encode()])
        assert event["data"]["node"] == "child"
        assert "monitor" in event["data"]["processes"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert live_monitors(redis_client) == {}
    assert MetricSample.objects.filter(node="child").count() >= 2


def next_entries(client: Any, after: str, process: subprocess.Popen[str]) -> Any:
    """Wait for what comes after `after`; the process must live as long."""
    while process.poll() is None:
        # Less than the client's own time limit.
        if found := client.xread({key_of(SYSTEM_METRICS): after}, block=3000):
            return found[0][1]
    raise AssertionError(f"the monitor has ended: {process.communicate()[1]}")


def _database(connection: Any) -> dict[str, str]:
    """The variables under which the process finds the tests' own database."""
    if connection.vendor == "sqlite":
        return {"DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}"}
    facts = connection.settings_dict
    user = f"{facts['USER']}:{facts['PASSWORD']}@" if facts["USER"] else ""
    host = quote(str(facts["HOST"]), safe="")  # a socket's folder
    port = f":{facts['PORT']}" if facts["PORT"] else ""
    return {"DATABASE_URL": f"postgres://{user}{host}{port}/{facts['NAME']}"}
