"""A key with a list of models: the others are not there for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from accounts.services.api_keys import create_api_key
from inference.presence import WorkerReport, announce
from tests.conftest import MODEL, Caller


def limited_to(caller: Caller, *models: str) -> Caller:
    _, text = create_api_key(actor=None, user=caller.user, name="n", allowed_models=models)
    return Caller(caller.user, str(text))


def test_the_list_shows_what_the_key_may_use(member: Caller, model: Any) -> None:
    shown = [limited_to(member, name).get("/api/models").json()["count"] for name in (MODEL, "b")]
    assert shown == [1, 0]


def test_a_model_outside_the_list_reads_as_a_missing_one(member: Caller, model: Any) -> None:
    caller = limited_to(member, "other")
    there = caller.get(f"/api/models/{MODEL}")
    missing = caller.get("/api/models/other")
    assert there.status_code == missing.status_code == 404
    error = missing.json()["error"]
    assert there.json()["error"] == {**error, "message": error["message"].replace("other", MODEL)}
    assert limited_to(member, MODEL).get(f"/api/models/{MODEL}").status_code == 200


@pytest.mark.parametrize("path", ["/api/infer", "/api/stream_infer"])
@pytest.mark.parametrize("more", [{}, {"model": MODEL}])
def test_nothing_is_generated_with_a_model_outside_the_list(
    member: Caller, model: Any, redis_client: Any, path: str, more: dict[str, str]
) -> None:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))
    response = limited_to(member, "other").post(path, json.dumps({"text": "hi", **more}))
    assert response.status_code == 404
    assert json.loads(response.content)["error"]["code"] == "MODEL_NOT_FOUND"
    assert not model.jobs.exists()
