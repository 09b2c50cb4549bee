"""A worker that is killed on the whole stack: its alert comes live, is kept, and is sent."""

from __future__ import annotations

import os
import signal
from typing import Any

import httpx

from tests.e2e.conftest import Stack, wait_until


def firing(stack: Stack) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{stack.url}/api/alerts?state=firing", headers=stack.headers, timeout=60)
    return {alert["rule"]: alert for alert in answer.json()["results"]}


def test_a_killed_worker_fires_though_it_is_back_at_once(stack: Stack) -> None:
    services = wait_until(lambda: stack.status()["services"].get("alerts"), "the evaluation")
    wait_until(lambda: stack.status()["services"]["alerts"]["healthy"], "the evaluation")
    assert "A worker died" not in firing(stack), services
    os.kill(stack.worker_pid(), signal.SIGKILL)
    alert = wait_until(lambda: firing(stack).get("A worker died"), "the alert")
    assert alert["labels"]["worker"]
    wait_until(lambda: stack.probe() == 200, "ready again", 120)
