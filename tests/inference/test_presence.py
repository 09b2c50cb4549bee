from __future__ import annotations

from typing import Any

from inference.presence import (
    LIFETIME,
    EngineReport,
    WorkerReport,
    announce,
    live_workers,
    withdraw,
)
from inference.states import ModelState


def report(name: str, instance: str = "1") -> WorkerReport:
    engine = EngineReport("m", ModelState.READY, num_running=2)
    return WorkerReport(name, instance, 1, "here", 0.0, 0, 8, (engine,))


def test_a_worker_that_reports_is_seen(redis_client: Any) -> None:
    announce(redis_client, report("b"))
    announce(redis_client, report("a"))
    assert live_workers(redis_client) == [report("a"), report("b")]


def test_a_new_start_of_a_name_replaces_the_old_one(redis_client: Any) -> None:
    announce(redis_client, report("a", "1"))
    announce(redis_client, report("a", "2"))
    assert [worker.instance for worker in live_workers(redis_client)] == ["2"]


def test_a_report_vanishes_by_itself(redis_client: Any) -> None:
    announce(redis_client, report("a"))
    assert 0 < redis_client.ttl("lg:worker:a") <= LIFETIME
    redis_client.delete("lg:worker:a")
    assert live_workers(redis_client) == []


def test_a_worker_that_leaves_is_gone_at_once(redis_client: Any) -> None:
    announce(redis_client, report("a"))
    withdraw(redis_client, "a")
    assert live_workers(redis_client) == []


def test_a_worker_of_another_version_is_passed_over(redis_client: Any) -> None:
    announce(redis_client, report("a"))
    redis_client.sadd("lg:workers", "b")
    redis_client.set("lg:worker:b", b'{"name": 5}')
    assert [worker.name for worker in live_workers(redis_client)] == ["a"]
