"""GET /api/system/metrics and /api/system/gpu."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from monitoring import snapshot
from monitoring.collectors.gpu import GpuReader, GpuReaders
from monitoring.collectors.node import NodeReader
from monitoring.monitor.presence import MonitorReport, announce
from monitoring.services.history import write_samples
from tests.conftest import Caller
from tests.monitoring.collectors.test_gpu import FakeNvml
from tests.monitoring.history.samples import cluster_at, node_at


@pytest.fixture(autouse=True)
def measured(db: None, redis_client: Any) -> Iterator[None]:
    now = int(time.time())
    write_samples([node_at(now, 40, node="gpu1"), cluster_at(now, 6, [0.2, 0.4])])
    yield


def test_everybody_who_may_see_the_monitoring_sees_the_history(guest: Caller) -> None:
    answer = guest.get("/api/system/metrics?timeframe=1h&granularity=1m").json()
    assert (answer["success"], answer["step"]) == (True, 60)
    assert all(len(series["values"]) == 60 for series in answer["series"])
    by_name = {series["name"]: series for series in answer["series"]}
    assert (by_name["cpu_usage"]["node"], by_name["cpu_usage"]["unit"]) == ("gpu1", "percent")
    assert by_name["cpu_usage"]["values"][-2:].count(40.0) == 1
    assert by_name["gpu_usage"]["values"] == [None] * 60
    assert by_name["latency_p95"]["values"].count(None) == 59


@pytest.mark.parametrize(
    ("timeframe", "granularity"), [("1h", "1m"), ("6h", "5m"), ("24h", "15m"), ("7d", "1h")]
)
def test_each_span_has_a_usual_granularity(guest: Caller, timeframe: str, granularity: str) -> None:
    answer = guest.get(f"/api/system/metrics?timeframe={timeframe}").json()
    assert answer["granularity"] == granularity
    assert len(answer["series"][0]["values"]) <= 168


def test_every_span_goes_with_every_granularity(guest: Caller) -> None:
    for timeframe in ("1h", "6h", "24h", "7d"):
        for granularity in ("1m", "5m", "15m", "1h"):
            query = f"timeframe={timeframe}&granularity={granularity}&series=requests"
            (series,) = guest.get(f"/api/system/metrics?{query}").json()["series"]
            known = [value for value in series["values"] if value is not None]
            assert known == [6.0], query


def test_certain_series_can_be_asked_for(guest: Caller) -> None:
    answer = guest.get("/api/system/metrics?series=requests,cpu_usage_max&node=gpu1").json()
    assert [series["name"] for series in answer["series"]] == ["requests", "cpu_usage_max"]
    everything = guest.get("/api/system/metrics?series=all").json()
    assert len(everything["series"]) > 60


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("timeframe=2h", "timeframe"),
        ("granularity=2m", "granularity"),
        ("series=cpu_usage,nonsense", "series"),
        ("since=yesterday", "since"),
        ("timeframe=1h&timeframe=6h", "timeframe"),
        (f"node={'n' * 65}", "node"),
        ("node=%00", "node"),
    ],
)
def test_wrong_parameters_are_named(guest: Caller, query: str, field: str) -> None:
    response = guest.get(f"/api/system/metrics?{query}")
    assert response.status_code == 400
    assert [wrong["field"] for wrong in response.json()["error"]["details"]] == [field]


def test_an_unknown_node_or_model_has_no_figures(guest: Caller) -> None:
    answer = guest.get("/api/system/metrics?node=elsewhere&series=cpu_usage").json()
    assert answer["series"] == []
    answer = guest.get("/api/system/metrics?model=unknown&series=requests").json()
    assert {value for series in answer["series"] for value in series["values"]} <= {None, 0.0}


def report_of(node: str, nvml: FakeNvml, client: Any) -> None:
    reader = NodeReader([], root=0, gpus=GpuReaders([GpuReader(nvml)]))
    reading = reader.read()
    announce(client, MonitorReport(node, "1", 7, 0.0, 1.0, True, 0, reading))
    client.persist(f"lg:monitor:{node}")  # a busy machine may take longer than a report holds


def test_the_gpus_of_all_nodes_are_told(guest: Caller, redis_client: Any) -> None:
    report_of("gpu1", FakeNvml(num_gpus=2), redis_client)
    report_of("web1", FakeNvml(has_driver=False), redis_client)
    answer = guest.get("/api/system/gpu").json()
    assert [(gpu["node"], gpu["index"]) for gpu in answer["gpus"]] == [("gpu1", 0), ("gpu1", 1)]
    assert (answer["gpus"][0]["memory_usage"], answer["gpus"][0]["power"]) == (25.0, 312.5)
    assert answer["gpus"][0]["processes"][0] == {"pid": 7, "memory": 9000}
    assert answer["reasons"]["gpu1"] is None
    assert "Not Found" in answer["reasons"]["web1"]


def test_without_a_monitor_the_web_process_looks_itself(guest: Caller) -> None:
    answer = guest.get("/api/system/gpu").json()
    assert len(answer["reasons"]) == 1
    status = guest.get("/api/system/status").json()
    assert status["measured_by"] == "web"
    assert status["services"]["monitor"]["healthy"] is False


def test_the_status_is_what_the_monitor_has_read(
    guest: Caller, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot.socket, "gethostname", lambda: "gpu1")
    report_of("gpu1", FakeNvml(), redis_client)
    status = guest.get("/api/system/status").json()
    assert (status["measured_by"], status["gpu"][0]["name"]) == ("monitor", "NVIDIA H100")
    assert status["nodes"]["gpu1"]["gpu_memory"] == 25.0
    assert status["services"]["monitor:gpu1"]["healthy"] is True


def test_a_monitor_that_was_killed_is_missed(guest: Caller, redis_client: Any) -> None:
    report_of("gpu1", FakeNvml(), redis_client)
    redis_client.delete("lg:monitor:gpu1")  # as when its report has run out
    status = guest.get("/api/system/status").json()
    assert status["services"]["monitor:gpu1"]["healthy"] is False
    assert status["nodes"] == {"gpu1": None}
    assert status["measured_by"] == "web"
