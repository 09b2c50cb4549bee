"""A worker's death on the whole stack: readiness, stream and alert tell of it, though it is soon back."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

from tests.e2e.conftest import Stack, wait_until

RULE = "A worker died"


def firing(stack: Stack) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{stack.url}/api/alerts?state=firing", headers=stack.headers, timeout=60)
    return {alert["rule"]: alert for alert in answer.json()["results"]}


def worker_probe(stack: Stack) -> str:
    probes = httpx.get(f"{stack.url}/readyz", timeout=10).json()["probes"]
    return next(str(probe["detail"]) for probe in probes if probe["name"] == "worker")


def collect(socket: ClientConnection, *wanted: str) -> dict[str, dict[str, Any]]:
    """The data of the next event of each name, in whatever order they come."""
    found: dict[str, dict[str, Any]] = {}
    for _ in range(500):
        event = json.loads(socket.recv(timeout=60))
        data = event["data"]
        name = f"{event['event_type']} {data['rule']}" if "rule" in data else event["event_type"]
        if name in wanted:
            found.setdefault(name, data)
        if len(found) == len(wanted):
            return found
    raise AssertionError(f"only these were told: {found}")


def test_a_killed_worker_is_told_everywhere_though_it_is_back_at_once(stack: Stack) -> None:
    wait_until(lambda: stack.status()["services"]["alerts"]["healthy"], "the evaluation")
    address = stack.url.replace("http", "ws") + "/ws/stream/"
    with connect(address, additional_headers=stack.headers) as socket:
        streams = ["model_events", "alert_events"]
        socket.send(json.dumps({"action": "subscribe", "streams": streams}))
        assert collect(socket, "subscribed")
        pid = stack.worker_pid()
        # Where a test before has killed one, the alert fires still, and is not told again.
        fires = [] if RULE in firing(stack) else [f"alert_firing {RULE}"]
        os.kill(pid, signal.SIGKILL)
        told = collect(socket, "worker_died", "worker_started", *fires)
    name = told["worker_died"]["worker"]
    assert told["worker_started"]["worker"] == name
    assert told["worker_started"]["after_death"] is True
    alert = firing(stack)[RULE]
    assert alert["labels"] == {"worker": name}
    assert worker_probe(stack) == "1 running; 1 died within the last 5 minutes and came back"
    wait_until(lambda: stack.probe() == 200, "ready again", 120)
    assert stack.worker_pid() != pid
    rows = httpx.get(
        f"{stack.url}/api/audit?action=alert.fired", headers=stack.headers, timeout=60
    ).json()["results"]
    assert [row["data"]["rule"] for row in rows if row["data"]["labels"] == alert["labels"]]
