"""Plugins among the parts that the status tells of."""

from __future__ import annotations

from typing import Any

from plugins_app.breaker import BreakerState
from plugins_app.liveness import plugin_parts
from plugins_app.presence import PluginReport, announce
from plugins_app.runners.base import RunnerState
from tests.conftest import Caller


def test_every_plugin_of_every_worker_is_told(redis_client: Any) -> None:
    announce(
        redis_client,
        "w",
        {
            "core": PluginReport(RunnerState.READY),
            "dead": PluginReport(RunnerState.BACKING_OFF, error="segfault at /secret", restarts=3),
            "hosted": PluginReport(RunnerState.READY, pid=7),
            "tripped": PluginReport(RunnerState.READY, breaker=BreakerState.OPEN),
        },
    )
    parts = {part.name: part for part in plugin_parts()}
    assert {name: part.healthy for name, part in parts.items()} == {
        "plugin:w/core": True,
        "plugin:w/dead": False,
        "plugin:w/hosted": True,
        "plugin:w/tripped": False,
    }
    assert parts["plugin:w/hosted"].detail == "ready, process 7, 0 restarts"
    assert parts["plugin:w/dead"].detail == "backing_off, in the worker, 3 restarts"
    assert parts["plugin:w/tripped"].detail.endswith("its breaker is open")


def test_the_status_has_them(guest: Caller, redis_client: Any) -> None:
    announce(redis_client, "w", {"core": PluginReport(RunnerState.READY)})
    redis_client.persist("lg:plugins:w")  # a busy machine may take longer than a report holds
    services = guest.get("/api/system/status").json()["services"]
    assert services["plugin:w/core"]["healthy"] is True


def test_without_redis_there_are_none(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert plugin_parts() == []
