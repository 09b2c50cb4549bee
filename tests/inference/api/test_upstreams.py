"""Remote models over HTTP: who may add them, what is refused, and that a key never comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from inference.catalog import sync_models
from inference.models import Model, Upstream
from inference.services.upstreams import open_key
from llamagpu.lib.allow_list import AllowList
from monitoring.models import AuditLog
from tests.conftest import MODEL, Caller

KEY = "sk-very-secret"
BODY = {
    "source": "remote:https://vllm.example.org:8000/v1",
    "upstream_model": "org/Some-Model",
    "context_length": 4096,
    "api_key": KEY,
}

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]


@pytest.fixture(autouse=True)
def allowed(settings: Any) -> None:
    allow = AllowList.parse(["vllm.example.org", "10.0.0.9:8000"])
    settings.LLAMA = replace(settings.LLAMA, upstream_allow=allow)


def register(caller: Caller, **fields: Any) -> Any:
    return caller.post("/api/models", {**BODY, **fields})


def patch(caller: Caller, slug: str, body: Any) -> Any:
    return Client().patch(
        f"/api/models/{slug}/upstream",
        body,
        content_type="application/json",
        headers=caller.headers,
    )


def test_who_may_write_models_adds_a_remote_one(admin: Caller) -> None:
    answer = register(admin, keep_alive=60)
    assert answer.status_code == 201
    model = answer.json()["model"]
    assert (model["id"], model["format"], model["source"]) == (
        "some-model", "remote", "remote:org/Some-Model",
    )  # fmt: skip
    assert model["context_length"] == 4096
    row = Model.objects.get(slug="some-model")
    assert row.is_remote
    assert row.keep_alive == 60
    assert open_key(row.upstream) == KEY


@pytest.mark.parametrize("role", ["member", "guest"])
def test_nobody_else_does(role: str, request: pytest.FixtureRequest) -> None:
    caller = request.getfixturevalue(role)
    assert register(caller).status_code == 403
    assert not Upstream.objects.exists()


def test_the_key_comes_out_nowhere(admin: Caller, operator: Caller) -> None:
    answers = [register(admin), patch(admin, "some-model", {"api_key": KEY + "2"})]
    for caller in (admin, operator):
        for path in ("", "/some-model", "/some-model/upstream"):
            answers.append(caller.get(f"/api/models{path}"))
    answers.append(caller.get("/api/status"))
    for answer in answers:
        assert KEY not in answer.content.decode()
    rows = repr(list(AuditLog.objects.values())) + repr(list(Upstream.objects.values()))
    assert KEY not in rows
    assert admin.get("/api/models/some-model/upstream").json()["upstream"]["has_key"] is True


def test_the_address_is_for_who_manages_models(operator: Caller, member: Caller) -> None:
    register(operator)
    assert "example.org" not in member.get("/api/models/some-model").content.decode()
    assert member.get("/api/models/some-model/upstream").status_code == 403
    shown = operator.get("/api/models/some-model/upstream").json()["upstream"]
    assert shown["base_url"] == "https://vllm.example.org:8000/v1"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"source": "remote:https://other.example.org/v1"}, "source"),
        ({"source": "remote:https://169.254.169.254/v1"}, "source"),
        ({"source": "remote:https://user:pw@vllm.example.org/v1"}, "source"),
        ({"source": "remote:file:///etc/passwd"}, "source"),
        ({"upstream_model": ""}, "upstream_model"),
        ({"upstream_model": "a\nb"}, "upstream_model"),
        ({"context_length": 0}, "context_length"),
        ({"context_length": None}, "context_length"),
        ({"context_length": 10**12}, "context_length"),
        ({"api_key": "two words"}, "api_key"),
        ({"api_key": "line\r\nX-Evil: 1"}, "api_key"),
        ({"api_key": "k" * 5000}, "api_key"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": 10**6}, "timeout"),
        ({"capabilities": []}, "capabilities"),
        ({"capabilities": ["telepathy"]}, "capabilities"),
        ({"capabilities": ["tools"]}, "capabilities"),
        ({"name": "No Such Name"}, "name"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    admin: Caller, fields: Any, named: str
) -> None:
    answer = register(admin, **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["field"].startswith(named)
    assert not Upstream.objects.exists()


def test_without_a_list_there_are_no_remote_models(admin: Caller, settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, upstream_allow=AllowList())
    answer = register(admin)
    assert answer.status_code == 400
    assert "LLAMA_UPSTREAM_ALLOW" in answer.json()["error"]["message"]


def test_a_name_is_given_once(admin: Caller, model: Any) -> None:
    assert register(admin, name=model.slug).status_code == 409
    assert register(admin).status_code == 201
    assert register(admin).status_code == 409


def test_another_address_wants_its_own_key(admin: Caller) -> None:
    """Else whoever may change the address could have the key sent to a machine of theirs."""
    register(admin)
    moved = {"base_url": "http://10.0.0.9:8000/v1"}
    answer = patch(admin, "some-model", moved)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["field"] == "api_key"
    before = Model.objects.get(slug="some-model").generation
    assert patch(admin, "some-model", {**moved, "api_key": ""}).status_code == 200
    row = Model.objects.get(slug="some-model")
    assert row.generation == before + 1  # workers begin anew
    assert (row.upstream.base_url, row.upstream.has_key) == ("http://10.0.0.9:8000/v1", False)
    audited = AuditLog.objects.filter(action="model.upstream_changed").get()
    assert audited.after["base_url"] == "http://10.0.0.9:8000/v1"


def test_a_model_of_ours_has_no_upstream(admin: Caller, model: Any) -> None:
    assert admin.get(f"/api/models/{model.slug}/upstream").status_code == 404
    assert patch(admin, model.slug, {"timeout": 5}).status_code == 404
    assert patch(admin, "nothing", {"timeout": 5}).status_code == 404


def test_a_deleted_model_takes_its_key_along_and_its_name_is_free(admin: Caller) -> None:
    register(admin)
    gone = Client().delete("/api/models/some-model", headers=admin.headers)
    assert gone.status_code in (200, 202)
    assert not Upstream.objects.exists()
    assert register(admin).status_code == 201


def test_a_folder_does_not_take_a_remote_models_name(admin: Caller) -> None:
    register(admin, name=MODEL)
    change = sync_models()
    assert change.rejected[MODEL] == "a remote model has this name"
    assert Model.objects.get(slug=MODEL).is_remote
    assert Model.objects.get(slug=MODEL).state == "available"
