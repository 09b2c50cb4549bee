"""A model's own limits hold at every door and are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference import presence
from inference.model_control import change_model
from inference.models import InferenceJob, Model
from inference.presence import announce
from inference.worker.load_orders import order_for
from tests.conftest import MODEL, Caller
from tests.inference.test_model_control import worker


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LIFETIME", 600)  # a slow machine must not outlive it
    announce(redis_client, worker())


@pytest.fixture
def limited(model: Any) -> Any:
    changes = {"max_new_tokens": 20, "max_model_len": 60, "max_running": 2}
    return change_model(actor=None, model=model, changes=changes)


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody answers here: what was queued is looked at."""
    from django.http import JsonResponse

    from inference.api import responses

    async def collect(*_: Any) -> JsonResponse:
        return JsonResponse({})

    monkeypatch.setattr(responses, "collect", collect)


def test_more_tokens_than_the_model_gives_are_refused(limited: Any, member: Caller) -> None:
    response = member.post("/api/infer", {"text": "hi", "max_tokens": 21})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "INVALID_INPUT")
    assert error["message"] == f"max_tokens: Must be at most 20 for '{MODEL}'."
    response = member.post("/v1/completions", {"model": MODEL, "prompt": "hi", "max_tokens": 21})
    assert (response.status_code, "at most 20" in response.json()["error"]["message"]) == (
        400,
        True,
    )


def test_what_nobody_asked_for_is_lowered(limited: Any, member: Caller, no_waiting: None) -> None:
    member.post("/api/infer", {"text": "hi"})
    assert InferenceJob.objects.get().params["max_tokens"] == 20


def test_an_input_of_a_batch_is_told(limited: Any, member: Caller) -> None:
    body = {"inputs": [{"text": "hi", "max_tokens": 21}], "async": True}
    response = member.post("/api/batch_infer", body)
    batch = member.get(f"/api/batches/{response.json()['batch_id']}").json()
    assert "at most 20" in json.dumps(batch)


def test_the_shorter_context_holds(limited: Any, member: Caller) -> None:
    response = member.post("/api/infer", {"text": "word " * 60, "max_tokens": 5})
    assert response.json()["error"]["code"] == "CONTEXT_LENGTH_EXCEEDED"
    assert response.json()["error"]["details"]["context_length"] == 60


def test_engines_are_loaded_with_them(limited: Any) -> None:
    load = order_for(MODEL).load
    assert (load.num_slots, load.max_model_len) == (2, 60)


def test_they_are_shown(limited: Any, member: Caller) -> None:
    shown = member.get(f"/api/models/{MODEL}").json()["model"]
    assert shown["limits"] == {"max_model_len": 60, "max_running": 2, "max_new_tokens": 20}
    assert shown["context_length"] == 60


def test_a_limit_of_engines_asks_for_other_engines(limited: Any) -> None:
    before = Model.objects.get().generation
    change_model(actor=None, model=limited, changes={"max_new_tokens": 10})
    assert Model.objects.get().generation == before
    change_model(actor=None, model=limited, changes={"max_running": None})
    assert Model.objects.get().generation == before + 1
