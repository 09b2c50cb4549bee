"""Known load, found again in every place that tells of it; and a worker's death, told everywhere."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from typing import Any

import httpx
import redis

from tests.e2e.conftest import LONG, Stack, wait_until

NUM_REQUESTS, NUM_TOKENS = 5, 7
ANSWERED = {"text": "Count.", "temperature": 0, "max_tokens": NUM_TOKENS, "ignore_eos": True}
SERIES = ("requests", "errors", "generation_tokens")
NUM_FAILURES = 1


def test_known_load_is_told_alike_everywhere(stack: Stack) -> None:
    settle(stack)
    events = Events(stack)
    before = {"metrics": from_metrics(stack), "history": from_history(stack), **jobs(stack)}
    for _ in range(NUM_REQUESTS):
        assert stack.infer(ANSWERED).status_code == 200
    failed = stack.infer({**LONG, "max_tokens": 2000, "timeout": 1})
    assert failed.status_code == 504
    wait_until(
        lambda: from_metrics(stack)["requests"] - before["metrics"]["requests"] >= 6, "the metrics"
    )
    counted = difference(from_metrics(stack), before["metrics"])
    assert (counted["requests"], counted["errors"]) == (NUM_REQUESTS + NUM_FAILURES, NUM_FAILURES)
    assert counted["generation_tokens"] >= NUM_REQUESTS * NUM_TOKENS
    try:
        wait_until(lambda: difference(from_history(stack), before["history"]) == counted, "history")
    except AssertionError as error:
        told = difference(from_history(stack), before["history"])
        raise AssertionError(f"the history tells {told}, the metrics {counted}") from error
    after = jobs(stack)
    assert after["succeeded"] - before["succeeded"] == NUM_REQUESTS
    assert after["expired"] - before["expired"] == NUM_FAILURES
    live = events.until(lambda data: data["requests"] >= NUM_REQUESTS + NUM_FAILURES)
    assert live["errors"] >= NUM_FAILURES
    assert live["latency"]["count"] >= NUM_REQUESTS
    assert live["models"]["smollm2-135m-instruct"]["requests"] == live["requests"]
    ttft = stack.status()["statistics"]["ttft"]
    assert live["ttft"]["p50"] is not None
    assert ttft["p50"] is not None


def test_the_work_of_the_engine_is_seen(stack: Stack) -> None:
    events = Events(stack, "system_metrics")
    stack.infer({**LONG, "max_tokens": 60})
    burning = events.until(lambda data: (data["processes"]["engine"]["cpu"] or 0) > 20)
    assert burning["cpu_usage"] > 0
    wait_until(lambda: max_of(stack, "engine_cpu") > 0, "the engine in the history")
    usage = stack.status()["processes"]["engine"]
    assert usage["count"] == 1
    assert usage["rss"] > 100 * 2**20
    assert "llamagpu_node_process_cpu_cores{" in scrape(stack)


def test_the_deep_check_generates_a_token(stack: Stack) -> None:
    answer = httpx.get(
        f"{stack.url}/api/system/status?deep=true", headers=stack.headers, timeout=60
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["deep"]["healthy"] is True


def test_every_part_is_told_alive(stack: Stack) -> None:
    services = stack.status()["services"]
    kinds = {name.partition(":")[0] for name in services}
    assert {"database", "redis", "migrations", "worker", "engine", "monitor"} <= kinds
    assert all(service["healthy"] for service in services.values()), services


def test_a_killed_worker_is_missed_everywhere(stack: Stack) -> None:
    events = Events(stack)
    pid = stack.worker_pid()
    os.kill(pid, signal.SIGSTOP)  # a dead one would be back too soon to be seen
    try:
        gone = events.until(lambda data: data["workers"] == 0)
        assert all(model["engines"] == 0 for model in gone["models"].values())
        answer = wait_until(lambda: missing(stack), "the reason in /readyz")
        assert "worker: no worker is running" in answer
        silent = [
            service
            for name, service in stack.status()["services"].items()
            if name.startswith("worker:")
        ]
        assert [service["healthy"] for service in silent] == [False]
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: stack.probe() == 200, "ready again", 120)


def test_a_killed_monitor_is_started_again_and_leaves_no_invented_figures(stack: Stack) -> None:
    (first,) = [
        service
        for name, service in stack.status()["services"].items()
        if name.startswith("monitor:")
    ]
    pid = int(re.findall(r"process (\d+)", first["detail"])[0])
    os.kill(pid, signal.SIGKILL)
    events = Events(stack, "system_metrics")
    events.until(lambda data: data["processes"].get("monitor", {}).get("count") == 1)
    (second,) = [
        service
        for name, service in stack.status()["services"].items()
        if name.startswith("monitor:")
    ]
    assert second["healthy"]
    assert f"process {pid} " not in second["detail"]


class Events:
    """The live stream from now on, where watchers' servers read it."""

    def __init__(self, stack: Stack, stream: str = "inference_stats") -> None:
        socket = stack.data_dir / "run" / "valkey.sock"
        self._client: Any = redis.Redis(unix_socket_path=str(socket), socket_timeout=30)
        self._key = f"lg:live:{stream}"
        newest = self._client.xrevrange(self._key, count=1)
        self._last = newest[0][0] if newest else "0"

    def until(self, wanted: Any) -> dict[str, Any]:
        """The data of the first event that is wanted."""
        for _ in range(120):
            for _, entries in self._client.xread({self._key: self._last}, block=10_000):
                for entry, fields in entries:
                    self._last = entry
                    data = json.loads(fields[b"event"])["data"]
                    if wanted(data):
                        return dict(data)
        raise AssertionError("it was never told")


def scrape(stack: Stack) -> str:
    answer = httpx.get(f"{stack.url}/metrics", headers=stack.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


def from_metrics(stack: Stack) -> dict[str, float]:
    text = scrape(stack)

    def total(name: str) -> float:
        found = re.findall(rf"^llamagpu_{name}(?:{{[^\n]*}})? (\S+)", text, re.MULTILINE)
        return sum(map(float, found))

    errors = total("request_failure_total")
    return {
        "requests": total("request_success_total") + errors,
        "errors": errors,
        "generation_tokens": total("generation_tokens_total"),
    }


def settle(stack: Stack) -> None:
    """Until what other tests have asked for is in the history: it comes seconds after the metrics."""
    seen: list[object] = []

    def is_still() -> bool:
        time.sleep(3)
        seen.append((from_metrics(stack), from_history(stack)))
        return len(seen) >= 4 and all(one == seen[-1] for one in seen[-4:])

    wait_until(is_still, "nothing is counted any more")


def from_history(stack: Stack) -> dict[str, float]:
    found = dict.fromkeys(SERIES, 0.0)
    for series in history(stack, ",".join(SERIES)):
        found[series["name"]] = sum(value or 0 for value in series["values"])
    return found


def max_of(stack: Stack, name: str) -> float:
    return max((v or 0 for series in history(stack, name) for v in series["values"]), default=0)


def history(stack: Stack, names: str) -> list[dict[str, Any]]:
    answer = httpx.get(
        f"{stack.url}/api/system/metrics?timeframe=6h&granularity=5m&series={names}",
        headers=stack.headers,
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return list(answer.json()["series"])


def jobs(stack: Stack) -> dict[str, int]:
    states = stack.status()["statistics"]["jobs"]
    return {name: states.get(name, 0) for name in ("succeeded", "expired")}


def missing(stack: Stack) -> str:
    answer = httpx.get(f"{stack.url}/readyz", timeout=10)
    return " ".join(answer.json()["reasons"]) if answer.status_code == 503 else ""


def difference(later: dict[str, float], earlier: dict[str, float]) -> dict[str, float]:
    return {name: value - earlier[name] for name, value in later.items()}
