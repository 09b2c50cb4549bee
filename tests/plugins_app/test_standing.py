"""What workers report of a plugin becomes its state, and the answer of a load."""

from __future__ import annotations

from typing import Any

import pytest

from plugins_app.breaker import BreakerState
from plugins_app.models import Plugin
from plugins_app.presence import PluginReport, announce
from plugins_app.runners.base import RunnerState
from plugins_app.services.lifecycle import enable_plugin
from plugins_app.standing import await_gone, await_taken_up, live_reports, standing_of
from tests.conftest import Caller
from tests.plugins_app.api.conftest import call

# It is on its way through its next generation by then.
LATER = 10**6


@pytest.fixture
def loaded(approved: Plugin) -> Plugin:
    return enable_plugin(actor=None, plugin=approved)


def running(row: Plugin, **changes: Any) -> PluginReport:
    fields: dict[str, Any] = {
        "state": RunnerState.READY,
        "version": "1.0.0",
        "generation": row.generation,
        "tried_generation": row.generation,
        "pid": 1234,
        "resident_bytes": 1000,
        "isolation": ("files", "network"),
    }
    return PluginReport(**(fields | changes))


FAILED = {"state": RunnerState.FAILED, "error": "no such file", "generation": 0}


def test_active_once_every_worker_has_taken_it_up(loaded: Plugin, redis_client: Any) -> None:
    assert standing_of(loaded, live_reports()).state == "loaded"
    announce(redis_client, "a", {"loud": running(loaded)})
    assert standing_of(loaded, live_reports()).state == "active"
    announce(redis_client, "b", {})
    assert standing_of(loaded, live_reports()).state == "loaded"
    announce(redis_client, "b", {"loud": running(loaded, tried_generation=0, generation=0)})
    assert standing_of(loaded, live_reports()).state == "loaded"


@pytest.mark.parametrize(
    "trouble",
    [
        FAILED,
        {"state": RunnerState.BACKING_OFF},
        {"breaker": BreakerState.OPEN},
        {"error": "the new version cannot be loaded"},
    ],
)
def test_degraded_where_one_has_trouble(loaded: Plugin, redis_client: Any, trouble: Any) -> None:
    announce(redis_client, "a", {"loud": running(loaded)})
    announce(redis_client, "b", {"loud": running(loaded, **trouble)})
    standing = standing_of(loaded, live_reports())
    assert standing.state == "degraded"
    assert standing.error == trouble.get("error", "")


def test_nobody_waits_where_no_worker_lives(loaded: Plugin) -> None:
    standing, is_done = await_taken_up(loaded, patience=600.0)
    assert (standing.state, is_done) == ("loaded", False)
    assert await_gone(loaded, patience=600.0)


def test_a_load_answers_with_the_workers_word(
    operator: Caller, approved: Plugin, redis_client: Any
) -> None:
    announce(redis_client, "a", {"loud": running(approved, tried_generation=LATER)})
    answer = call(operator, "POST", "/loud/load")
    assert (answer.status_code, answer.json()["plugin"]["state"]) == (200, "active")
    (word,) = answer.json()["plugin"]["workers"]
    assert (word["worker"], word["memory"], word["isolation"]) == ("a", 1000, ["files", "network"])


def test_a_load_that_failed_says_why(operator: Caller, approved: Plugin, redis_client: Any) -> None:
    announce(redis_client, "a", {"loud": running(approved, tried_generation=LATER, **FAILED)})
    answer = call(operator, "POST", "/loud/load")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (500, "PLUGIN_LOAD_FAILED")
    assert "no such file" in error["message"]
    before = Plugin.objects.get(slug="loud").generation
    assert call(operator, "POST", "/loud/load").status_code == 500
    assert Plugin.objects.get(slug="loud").generation > before


def test_an_unload_that_takes_longer_says_so(
    operator: Caller, loaded: Plugin, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins_app.api.views.PATIENCE", 0.0)
    announce(redis_client, "a", {"loud": running(loaded)})
    assert call(operator, "POST", "/loud/unload").status_code == 202
    announce(redis_client, "a", {})
    assert call(operator, "POST", "/loud/unload").status_code == 200


def test_without_redis_nobody_says_that_it_is_gone(loaded: Plugin, settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert live_reports() == {}
    assert not await_gone(loaded, patience=0.0)


def test_its_health_is_shown(operator: Caller, loaded: Plugin, redis_client: Any) -> None:
    announce(redis_client, "a", {"loud": running(loaded, breaker=BreakerState.OPEN)})
    health = call(operator, "GET", "/loud").json()["plugin"]["health"]
    assert (health["breaker"], health["resident_bytes"], health["calls"]) == ("open", 1000, 0)
