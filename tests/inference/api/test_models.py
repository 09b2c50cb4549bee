"""Models over HTTP: who may load, unload and change them, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from inference.api import model_views
from inference.models import Model
from inference.presence import EngineReport, Freed, announce
from inference.states import ModelState
from monitoring.models import AuditLog
from tests.conftest import MODEL, Caller, make_caller
from tests.inference.test_doctor import with_config
from tests.inference.test_model_control import worker

BASE = f"/api/models/{MODEL}"


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_views, "UNLOAD_PATIENCE", 0.0)
    announce(redis_client, worker(generations={MODEL: 0}))


def call(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return Client().generic(
        method,
        path,
        "" if body is None else json.dumps(body),
        content_type="application/json",
        headers=caller.headers,
    )


def row() -> Model:
    return Model.objects.get(slug=MODEL)


def test_an_operator_loads_and_is_told_where_to_look(
    operator: Caller, model: Any, redis_client: Any
) -> None:
    response = call(operator, "POST", f"{BASE}/load", {"optimization_level": 0, "pinned": True})
    body = response.json()
    assert (response.status_code, response["Location"]) == (202, f"{BASE}/progress")
    assert (body["state"], body["desired_state"]) == ("loading", "ready")
    assert body["progress_url"] == f"{BASE}/progress"
    assert (row().load_options, row().is_pinned) == ({"optimization_level": 0}, True)
    assert AuditLog.objects.get(action="model.loaded").actor_name == "the-operator"
    engine = EngineReport(MODEL, ModelState.LOADING, progress=0.5, stage="weights", generation=1)
    announce(redis_client, worker(engine))
    progress = call(operator, "GET", f"{BASE}/progress").json()["progress"]
    assert (progress["state"], progress["stage"], progress["fraction"]) == (
        "loading",
        "weights",
        0.5,
    )


def test_what_is_ready_already_is_no_work(operator: Caller, model: Any, redis_client: Any) -> None:
    announce(redis_client, worker(EngineReport(MODEL, ModelState.READY)))
    response = call(operator, "POST", f"{BASE}/load", {})
    assert (response.status_code, response.json()["state"]) == (200, "ready")


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_unloading_tells_what_it_freed(
    operator: Caller, model: Any, redis_client: Any, method: str
) -> None:
    announce(redis_client, worker(generations={MODEL: 1}, freed={MODEL: Freed(1, 1234)}))
    response = call(operator, method, f"{BASE}/unload")
    body = response.json()
    assert response.status_code == 200
    assert (body["freed_memory"], body["state"], body["desired_state"]) == (
        1234,
        "available",
        "unloaded",
    )


def test_unloading_that_takes_longer_says_so(
    operator: Caller, model: Any, redis_client: Any
) -> None:
    engine = EngineReport(MODEL, ModelState.UNLOADING, num_running=3)
    announce(redis_client, worker(engine, generations={MODEL: 1}))
    response = call(operator, "POST", f"{BASE}/unload")
    assert (response.status_code, response.json()["state"]) == (202, "unloading")


def test_a_model_is_changed(admin: Caller, model: Any, settings: Any) -> None:
    with_config(settings, default_model="another")
    response = call(admin, "PATCH", BASE, {"keep_alive": 10, "pinned": True, "enabled": False})
    described = response.json()["model"]
    assert (described["keep_alive"], described["pinned"], described["enabled"]) == (10, True, False)
    assert call(admin, "PATCH", BASE, {"keep_alive": None}).json()["model"]["keep_alive"] is None


def test_a_disabled_model_answers_nobody(admin: Caller, model: Any) -> None:
    Model.objects.update(is_enabled=False)
    response = admin.post("/api/infer", {"text": "hi"})
    assert response.status_code == 404
    assert response.json()["error"] == {
        "code": "MODEL_NOT_FOUND",
        "message": f"The model '{MODEL}' is disabled.",
        "details": None,
    }


WRITES = [
    ("POST", f"{BASE}/load", {}),
    ("POST", f"{BASE}/unload", None),
    ("DELETE", f"{BASE}/unload", None),
    ("PATCH", BASE, {"pinned": True}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("role", ["user", "guest"])
def test_who_may_only_read_models_changes_nothing(
    model: Any, role: str, method: str, path: str, body: Any
) -> None:
    response = call(make_caller(role), method, path, body)
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "PERMISSION_DENIED"
    assert (row().desired_state, row().is_pinned, row().generation) == ("automatic", False, 0)


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_key_without_the_scope_changes_nothing(
    model: Any, method: str, path: str, body: Any
) -> None:
    caller = make_caller("operator", scopes=("models:read",))
    assert call(caller, method, path, body).status_code == 403
    assert call(caller, "GET", f"{BASE}/progress").status_code == 200


@pytest.mark.parametrize(("method", "path", "body"), [*WRITES, ("GET", f"{BASE}/progress", None)])
def test_an_unknown_model_is_not_found(
    operator: Caller, model: Any, method: str, path: str, body: Any
) -> None:
    response = call(operator, method, path.replace(MODEL, "nothing"), body)
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "MODEL_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"backend": "tpu"}, "backend"),
        ({"backend": 1}, "backend"),
        ({"optimization_level": 4}, "optimization_level"),
        ({"optimization_level": "0"}, "optimization_level"),
        ({"max_memory": "lots"}, "max_memory"),
        ({"max_memory": True}, "max_memory"),
        ({"max_memory": 0}, "max_memory"),
        ({"max_memory": "120%"}, "max_memory"),
        ({"devices": []}, "devices"),
        ({"devices": [-1]}, "devices[0]"),
        ({"devices": [0, 0]}, "devices"),
        ({"devices": "0"}, "devices"),
        ({"keep_alive": -2}, "keep_alive"),
        ({"keep_alive": 1.5}, "keep_alive"),
        ({"keep_alive": 2**31}, "keep_alive"),
        ({"pinned": "yes"}, "pinned"),
        ({"quantization": "int8"}, "quantization"),
        ({"replicas": 0}, "replicas"),
        ({"replicas": "all"}, "replicas"),
        ({"desired_state": "ready"}, "desired_state"),
        ({"generation": 5}, "generation"),
    ],
)
def test_a_bad_field_of_a_load_is_named(
    operator: Caller, model: Any, body: dict[str, Any], field: str
) -> None:
    response = call(operator, "POST", f"{BASE}/load", body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "INVALID_INPUT")
    assert field in [detail["field"] for detail in error["details"]]
    assert row().desired_state == "automatic"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"enabled": None}, "enabled"),
        ({"pinned": 1}, "pinned"),
        ({"keep_alive": "5m"}, "keep_alive"),
        ({"path": "/etc"}, "path"),
        ({"slug": "other"}, "slug"),
        ({"max_model_len": 0}, "max_model_len"),
        ({"max_running": 1025}, "max_running"),
        ({"max_new_tokens": 1.5}, "max_new_tokens"),
        ({"replicas": -1}, "replicas"),
    ],
)
def test_a_bad_field_of_a_change_is_named(
    operator: Caller, model: Any, body: dict[str, Any], field: str
) -> None:
    response = call(operator, "PATCH", BASE, body)
    error = response.json()["error"]
    assert (response.status_code, error["details"][0]["field"]) == (400, field)


@pytest.mark.parametrize("size", ["2GiB", "25%", 2_000_000_000])
def test_a_bound_of_memory_has_three_spellings(operator: Caller, model: Any, size: Any) -> None:
    assert call(operator, "POST", f"{BASE}/load", {"max_memory": size}).status_code == 202
    assert row().load_options == {"max_memory": str(size)}


def test_without_a_worker_a_load_is_refused(
    operator: Caller, model: Any, redis_client: Any
) -> None:
    redis_client.flushall()
    response = call(operator, "POST", f"{BASE}/load", {})
    assert (response.status_code, response["Retry-After"]) == (503, "5")
    assert response.json()["error"]["code"] == "NO_WORKER"


def test_models_are_found_by_what_they_are(member: Caller, model: Any, redis_client: Any) -> None:
    far = {"slug": "far", "source": "remote:http://x/v1", "format": "remote", "is_enabled": False}
    coming = {"slug": "coming", "source": "hub:org/coming@main", "state": "downloading"}
    for fields in (far, coming):
        sizes = dict.fromkeys(("num_parameters", "weight_bytes", "context_length", "vocab_size"), 0)
        Model.objects.create(**(sizes | {"state": "available"} | fields))
    announce(redis_client, worker(EngineReport(MODEL, ModelState.READY, backend="cpu")))

    def found(query: str) -> list[str]:
        body = member.get(f"/api/models?{query}").json()
        return [model["id"] for model in body["models"]]

    assert found("loaded=true") == found("backend=cpu") == found("state=ready") == [MODEL]
    assert found("enabled=false") == found("source=remote") == ["far"]
    assert found("state=downloading&loaded=false") == ["coming"]
    assert found("architecture=LlamaForCausalLM&pinned=false") == [MODEL]
    assert found("loaded=true&enabled=false") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("foo=1", "foo"), ("state=removed", "state"), ("loaded=perhaps", "loaded"), ("limit=1", "limit"),
        ("state=ready&state=absent", "state"), ("backend=%00", "backend"), ("source=disk", "source"),
    ],
)  # fmt: skip
def test_a_filter_that_is_none_is_named(member: Caller, model: Any, query: str, field: str) -> None:
    response = member.get(f"/api/models?{query}")
    assert (response.status_code, response.json()["error"]["details"][0]["field"]) == (400, field)
