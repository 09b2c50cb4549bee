from __future__ import annotations

from typing import Any

import psutil
import pytest
from django.conf import settings
from django.test import Client

from inference.presence import EngineReport, WorkerReport, announce
from inference.states import ModelState
from llamagpu.lib.redis_client import sync_client
from tests.conftest import MODEL, Caller


def report(*engines: EngineReport) -> WorkerReport:
    return WorkerReport("w", "1", 1, "here", 0.0, 2, 8, engines, {"cuda": "no device"})


def test_the_live_probe_needs_nothing() -> None:
    response = Client().get("/livez")
    assert response.status_code == 200
    assert response.json() == {"status": "alive"}


@pytest.mark.django_db
def test_ready_names_what_is_missing(redis_client: Any) -> None:
    response = Client().get("/readyz")
    assert response.status_code == 503
    reasons = " ".join(response.json()["reasons"])
    assert "worker: no worker is running" in reasons
    assert "manage.py pull" in reasons


def test_ready_once_a_worker_holds_the_default_model(redis_client: Any, model: Any) -> None:
    announce(redis_client, report(EngineReport(MODEL, ModelState.LOADING, progress=0.5)))
    loading = Client().get("/readyz")
    assert loading.status_code == 503
    assert "is loading (50%)" in " ".join(loading.json()["reasons"])
    announce(redis_client, report(EngineReport(MODEL, ModelState.READY)))
    assert Client().get("/readyz").status_code == 200


def test_ready_says_that_the_model_failed(redis_client: Any, model: Any) -> None:
    announce(redis_client, report(EngineReport(MODEL, ModelState.FAILED, error="corrupt")))
    response = Client().get("/readyz")
    assert "could not be loaded" in " ".join(response.json()["reasons"])


@pytest.mark.django_db
def test_ready_survives_a_redis_that_is_away(
    monkeypatch: pytest.MonkeyPatch, redis_client: Any
) -> None:
    monkeypatch.setattr(settings, "REDIS_URL", "unix:///nowhere/valkey.sock")
    response = Client().get("/readyz")
    assert response.status_code == 503
    reasons = " ".join(response.json()["reasons"])
    assert "redis: Redis does not answer" in reasons
    assert "/nowhere" not in reasons


def test_the_status_holds_measured_numbers(guest: Caller, redis_client: Any, model: Any) -> None:
    engine = EngineReport(MODEL, ModelState.READY, num_running=3, num_waiting=2, backend="cpu")
    announce(redis_client, report(engine))
    status = guest.get("/api/system/status").json()
    assert status["status"] == "healthy"
    assert status["memory"]["total"] == psutil.virtual_memory().total
    assert 0 <= status["cpu"]["usage"] <= 100
    assert status["cpu"]["count"] == psutil.cpu_count()
    assert status["disk"]["total"] > status["disk"]["free"] > 0
    assert status["uptime"] > 0
    assert status["queue"] == {"waiting": 0, "engine_waiting": 2, "engine_running": 3}
    assert status["workers"][0]["rejected_backends"] == {"cuda": "no device"}
    assert status["statistics"]["latency"] == {"count": 0, "p50": None, "p95": None, "p99": None}
    assert set(status["services"]) == {
        "database",
        "redis",
        "migrations",
        "limits",
        "worker",
        "default_model",
        "alerts",
        "monitor",
        "worker:w",
        f"engine:w/{MODEL}",
    }


def test_without_a_gpu_the_figure_is_null_and_says_why(guest: Caller, redis_client: Any) -> None:
    status = guest.get("/api/system/status").json()
    assert (status["gpu"] is None) == bool(status["gpu_reason"])


def test_the_status_survives_a_redis_that_is_away(
    guest: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "REDIS_URL", "unix:///nowhere/valkey.sock")
    status = guest.get("/api/system/status").json()
    assert status["status"] == "degraded"
    assert status["queue"]["waiting"] is None
    assert status["services"]["redis"]["healthy"] is False
    sync_client.cache_clear()


def test_the_first_page_shows_how_to_begin(redis_client: Any, model: Any) -> None:
    page = Client().get("/").content.decode()
    assert "not ready" in page
    assert "worker: no worker is running" in page
    announce(redis_client, report(EngineReport(MODEL, ModelState.READY)))
    page = Client().get("/").content.decode()
    assert "not ready" not in page
    assert "http://testserver/api/infer" in page


def test_a_page_that_is_not_there_says_so_to_people_and_programs() -> None:
    person = Client().get("/nothing", headers={"Accept": "text/html"})
    assert person.status_code == 404
    assert "There is nothing at this address." in person.content.decode()
    program = Client().get("/api/nothing")
    assert program.json()["error"]["code"] == "NOT_FOUND"
