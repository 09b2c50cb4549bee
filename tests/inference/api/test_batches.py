"""/api/batch_infer and /api/batches: what is refused, what is noted, who sees what."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.services.api_keys import create_api_key
from inference.models import Batch, BatchItem, InferenceJob
from inference.presence import WorkerReport, announce
from tests.accounts.counters import hold_the_minute
from tests.conftest import Caller, make_caller


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any) -> None:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))


def send(caller: Caller, body: Any) -> tuple[int, dict[str, Any]]:
    """Nobody waits, so that no worker is needed."""
    if isinstance(body, dict):
        body = {"async": True, **body}
    response = caller.post("/api/batch_infer", json.dumps(body))
    return response.status_code, json.loads(response.content)


def read(caller: Caller, path: str) -> dict[str, Any]:
    response = caller.get(path)
    body: dict[str, Any] = json.loads(response.content)
    assert response.status_code == 200, body
    return body


BAD_FRAMES: list[tuple[Any, str]] = [
    ([], ""),
    ({}, "inputs"),
    ({"inputs": "hi"}, "inputs"),
    ({"inputs": {"0": "hi"}}, "inputs"),
    ({"inputs": []}, "inputs"),
    ({"inputs": ["x"] * 513}, "inputs"),
    ({"inputs": ["hi"], "temperature": 3}, "temperature"),
    ({"inputs": ["hi"], "text": "hi"}, "text"),
    ({"inputs": ["hi"], "stream": False}, "stream"),
    ({"inputs": ["hi"], "logprobs": 1}, "logprobs"),
    ({"inputs": ["hi"], "priority": 1}, "priority"),
    ({"inputs": ["hi"], "async": 1}, "async"),
    ({"inputs": ["hi"], "async": False, "timeout": 301}, "timeout"),
    ({"inputs": ["hi"], "timeout": 86_401}, "timeout"),
    ({"inputs": [{"id": 5, "text": "hi"}]}, "inputs[0].id"),
    ({"inputs": [{"id": "", "text": "hi"}]}, "inputs[0].id"),
    ({"inputs": [{"id": "x" * 129, "text": "hi"}]}, "inputs[0].id"),
    ({"inputs": ["hi", {"id": "0", "text": "hi"}]}, "inputs[1].id"),
]


@pytest.mark.parametrize(("body", "field"), BAD_FRAMES, ids=[str(b)[:50] for b, _ in BAD_FRAMES])
def test_a_call_that_is_wrong_as_a_whole_is_refused(
    member: Caller, model: Any, body: Any, field: str
) -> None:
    status, answer = send(member, body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_INPUT")
    assert answer["error"]["message"].startswith(field)
    assert not Batch.objects.exists()
    assert not InferenceJob.objects.exists()


def test_too_many_inputs_name_the_cap(member: Caller, model: Any) -> None:
    _, answer = send(member, {"inputs": ["x"] * 513})
    assert "512" in answer["error"]["message"]


BAD_INPUTS: list[tuple[Any, str]] = [
    (5, "string or a JSON object"),
    (None, "string or a JSON object"),
    (["hi"], "string or a JSON object"),
    ("", "text"),
    ({}, "text"),
    ({"text": "hi", "messages": [{"role": "user", "content": "hi"}]}, "text"),
    ({"text": "hi", "temperature": 3}, "temperature"),
    ({"text": "hi", "model": "other"}, "model"),
    ({"text": "hi", "priority": 0}, "priority"),
    ({"text": "hi", "unheard": 1}, "unheard"),
    ({"text": "llama " * 5000}, "Shorten the text"),
    ({"text": "hi", "max_tokens": 8192}, "together over"),
]


@pytest.mark.parametrize(("item", "hint"), BAD_INPUTS, ids=[str(b)[:50] for b, _ in BAD_INPUTS])
def test_a_bad_input_gets_its_own_error_and_the_others_run(
    member: Caller, model: Any, item: Any, hint: str
) -> None:
    status, answer = send(member, {"inputs": ["hi", item, {"id": "last", "text": "ho"}]})
    assert status == 202
    page = read(member, answer["status_url"])
    first, bad, last = page["results"]
    assert [first["id"], bad["id"], last["id"]] == ["0", "1", "last"]
    assert [first["state"], last["state"]] == ["queued", "queued"]
    assert bad["error"]["code"] in ("INVALID_INPUT", "CONTEXT_LENGTH_EXCEEDED")
    assert hint in bad["error"]["message"]
    assert page["batch"]["counts"]["refused"] == 1
    assert page["batch"]["items_pending"] == 2


def test_parameters_of_an_input_go_before_those_beside_it(member: Caller, model: Any) -> None:
    send(
        member,
        {"inputs": ["a", {"text": "b", "max_tokens": 7}], "max_tokens": 5, "temperature": 0},
    )
    rows = InferenceJob.objects.order_by("batch_item__position")
    assert [row.params["max_tokens"] for row in rows] == [5, 7]
    assert [row.params["temperature"] for row in rows] == [0, 0]
    assert [row.params["given"] for row in rows] == [["max_tokens", "temperature"]] * 2


def test_a_batch_is_read_in_pages_and_cancelled(member: Caller, model: Any) -> None:
    _, answer = send(member, {"inputs": ["hi"] * 5})
    path = f"/api/batches/{answer['batch_id']}"
    page = read(member, f"{path}?limit=3")
    assert [item["id"] for item in page["results"]] == ["0", "1", "2"]
    rest = read(member, page["next"])
    assert [item["id"] for item in rest["results"]] == ["3", "4"]
    assert page["batch"]["state"] == "queued"
    response = Client().delete(path, headers=member.headers)
    batch = json.loads(response.content)["batch"]
    assert (batch["state"], batch["counts"]["cancelled"]) == ("cancelled", 5)
    ended = read(member, path)["results"]
    assert {item["error"]["code"] for item in ended} == {"CANCELLED"}


def test_others_see_nothing_of_a_batch_but_admins_do(
    member: Caller, operator: Caller, admin: Caller, model: Any
) -> None:
    _, answer = send(member, {"inputs": ["hi"]})
    path = f"/api/batches/{answer['batch_id']}"
    missing = operator.get(f"/api/batches/{uuid.uuid4()}")
    for response in (operator.get(path), Client().delete(path, headers=operator.headers)):
        assert response.status_code == missing.status_code == 404
    assert read(operator, "/api/batches")["results"] == []
    mine, all_of_them = read(member, "/api/batches"), read(admin, "/api/batches")
    assert [batch["batch_id"] for batch in mine["results"]] == [answer["batch_id"]]
    assert mine["results"] == all_of_them["results"]
    assert InferenceJob.objects.get().state == "queued"


def test_answers_are_for_their_owner_alone_and_only_while_they_are_kept(
    member: Caller, admin: Caller, model: Any
) -> None:
    _, answer = send(member, {"inputs": ["hi"]})
    path = f"/api/batches/{answer['batch_id']}"
    InferenceJob.objects.update(state="succeeded", output="a secret")
    assert read(member, path)["results"][0]["generated_text"] == "a secret"
    assert "a secret" not in json.dumps(read(admin, path))
    InferenceJob.objects.update(output="", content_removed_at=timezone.now())
    assert read(member, path)["results"][0]["generated_text"] is None


def test_why_an_input_was_refused_is_for_its_owner(
    member: Caller, admin: Caller, model: Any
) -> None:
    _, answer = send(member, {"inputs": ["hi", {"text": "hi", "my secret": 1}]})
    path = f"/api/batches/{answer['batch_id']}"
    InferenceJob.objects.update(
        state="failed", error_code="INVALID_INPUT", error_message="my secret"
    )
    assert "my secret" in json.dumps(read(member, path)["results"])
    assert "my secret" not in json.dumps(read(admin, path)["results"])


def test_a_guest_and_a_key_for_single_calls_are_refused(guest: Caller, model: Any) -> None:
    assert send(guest, {"inputs": ["hi"]})[0] == 403


def test_an_admins_narrow_key_sees_the_admins_own_batches(member: Caller, model: Any) -> None:
    narrow = make_caller("admin", ("batch",))
    admin = Caller(narrow.user, str(create_api_key(actor=None, user=narrow.user, name="wide")[1]))
    theirs = send(member, {"inputs": ["hi"]})[1]["batch_id"]
    own = send(narrow, {"inputs": ["hi"]})[1]["batch_id"]

    def seen(caller: Caller) -> set[str]:
        return {batch["batch_id"] for batch in read(caller, "/api/batches")["results"]}

    assert seen(narrow) == {own}
    assert seen(admin) == {own, theirs}
    for call in (narrow.get, lambda path: Client().delete(path, headers=narrow.headers)):
        assert call(f"/api/batches/{theirs}").status_code == 404
    assert read(admin, f"/api/batches/{theirs}")["batch"]["state"] == "queued"


def test_a_key_needs_the_scope_of_batches(db: None, model: Any) -> None:
    assert send(make_caller("user", ("infer",)), {"inputs": ["hi"]})[0] == 403
    assert send(make_caller("operator", ("batch",)), {"inputs": ["hi"]})[0] == 202


def test_batches_have_a_rate_of_their_own(
    member: Caller, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_the_minute(monkeypatch)
    statuses = [send(member, {"inputs": ["hi"]})[0] for _ in range(11)]
    assert statuses == [202] * 10 + [429]


def test_jobs_of_a_batch_are_listed_in_the_order_of_its_inputs(member: Caller, model: Any) -> None:
    _, answer = send(member, {"inputs": [f"input {n}" for n in range(5)]})
    page = read(member, f"/api/jobs?batch={answer['batch_id']}&limit=2")
    found = page["results"]
    while page["next"]:
        page = read(member, page["next"])
        found += page["results"]
    items = BatchItem.objects.order_by("position").values_list("job_id", flat=True)
    assert [job["job_id"] for job in reversed(found)] == [str(job_id) for job_id in items]
    told = read(member, f"/api/requests/{answer['request_id']}")["results"]
    assert [job["job_id"] for job in told] == [str(job_id) for job_id in items]
    limits = next(e for e in told[0]["events"] if e["stage"] == "limits")
    assert limits["details"]["reserved_tokens"] > 100
