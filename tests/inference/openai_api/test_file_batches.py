"""Batches under /v1/batches: asked for, listed, cancelled, their owner's alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from accounts.services.api_keys import create_api_key
from accounts.services.limits import set_limits
from inference.dispatch import BrokerUnavailableError
from inference.models import FileBatch, StoredFile
from inference.openai_api import batch_views
from inference.services import file_batches
from monitoring.models import AuditLog
from tests.conftest import Caller

ENDPOINTS = ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]


@pytest.fixture(autouse=True)
def counted(redis_client: Any) -> Iterator[None]:
    yield
    root = project_settings.LLAMA.files_dir
    for path in list(root.rglob("*")) if root.is_dir() else []:
        if path.is_file():
            path.unlink()


def uploaded(caller: Caller) -> str:
    form = {"file": SimpleUploadedFile("in.jsonl", b"{}\n"), "purpose": "batch"}
    response = Client().post("/v1/files", form, headers=caller.headers)
    assert response.status_code == 200, response.content
    return str(response.json()["id"])


def ask(caller: Caller, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    body = {"endpoint": ENDPOINTS[0], "completion_window": "24h", **changes}
    if "input_file_id" not in body:
        body["input_file_id"] = uploaded(caller)
    body = {name: value for name, value in body.items() if value is not ...}
    return Client().post(
        "/v1/batches",
        data=json.dumps(body),
        content_type="application/json",
        headers={**caller.headers, **(headers or {})},
    )


def error_of(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    return dict(response.json()["error"])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_a_batch_is_made_and_rung_for(member: Caller, redis_client: Any, endpoint: str) -> None:
    name = uploaded(member)
    body = ask(member, endpoint=endpoint, input_file_id=name, metadata={"run": "7"}).json()
    assert (body["object"], body["status"], body["endpoint"]) == ("batch", "validating", endpoint)
    assert (body["input_file_id"], body["metadata"]) == (name, {"run": "7"})
    assert body["expires_at"] - body["created_at"] == 86_400
    assert body["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
    assert (body["output_file_id"], body["error_file_id"], body["errors"]) == (None, None, None)
    assert member.get(f"/v1/batches/{body['id']}").json() == body
    (message,) = redis_client.lrange("lg:inference", 0, -1)
    assert json.loads(message)["headers"]["task"] == "inference.drive_file_batch"
    assert AuditLog.objects.filter(action="batch.created", target_name=body["id"]).exists()


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"endpoint": "/v1/moderations"}, "endpoint"),
        ({"endpoint": 5}, "endpoint"),
        ({"endpoint": ...}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"completion_window": None}, "completion_window"),
        ({"input_file_id": ...}, "input_file_id"),
        ({"input_file_id": 7}, "input_file_id"),
        ({"input_file_id": ["a"]}, "input_file_id"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a"),
        ({"metadata": {"x" * 65: "a"}}, "metadata"),
        ({"metadata": {"a": "\x00"}}, "metadata"),
        ({"metadata": {str(n): "a" for n in range(17)}}, "metadata"),
        (
            {"output_expires_after": {"anchor": "created_at", "seconds": 3600}},
            "output_expires_after",
        ),
    ],
)
def test_what_is_asked_for_otherwise_is_refused_by_name(
    member: Caller, changes: dict[str, Any], param: str
) -> None:
    error = error_of(ask(member, **changes), 400)
    assert error["param"] == param
    assert not FileBatch.objects.exists()


@pytest.mark.parametrize("name", ["x", "file-" + "0" * 32, "file-\ud800"])
def test_a_file_that_is_not_there_is_no_input(member: Caller, name: str) -> None:
    assert ask(member, input_file_id=name).status_code in (400, 404)


def test_anothers_file_is_no_input_and_anothers_batch_is_not_there(
    member: Caller, operator: Caller, admin: Caller
) -> None:
    file = uploaded(member)
    batch = ask(member, input_file_id=file).json()["id"]
    for caller in (operator, admin):
        error_of(ask(caller, input_file_id=file), 404)
        error_of(caller.get(f"/v1/batches/{batch}"), 404)
        error_of(caller.post(f"/v1/batches/{batch}/cancel", {}), 404)
        assert caller.get("/v1/batches").json()["data"] == []
    assert FileBatch.objects.get().state == "validating"


def test_results_are_no_input(member: Caller) -> None:
    name = uploaded(member)
    StoredFile.objects.update(purpose="batch_output")
    assert error_of(ask(member, input_file_id=name), 400)["param"] == "input_file_id"


def test_guests_and_keys_of_another_scope_are_refused(member: Caller, guest: Caller) -> None:
    file = uploaded(member)
    error_of(ask(guest, input_file_id=file), 403)
    _, key = create_api_key(actor=None, user=member.user, name="narrow", scopes=["infer"])
    error_of(ask(Caller(member.user, str(key)), input_file_id=file), 403)


def test_a_cancelled_batch_is_ending_and_stays_so(member: Caller) -> None:
    name = ask(member).json()["id"]
    body = member.post(f"/v1/batches/{name}/cancel", {}).json()
    assert body["status"] == "cancelling"
    assert body["cancelling_at"] >= body["created_at"]
    assert member.post(f"/v1/batches/{name}/cancel", {}).json() == body
    assert AuditLog.objects.filter(action="batch.cancelled").count() == 1
    FileBatch.objects.update(state="completed")
    response = member.post(f"/v1/batches/{name}/cancel", {})
    assert error_of(response, 409)["code"] == "conflict"
    assert response.headers["x-should-retry"] == "false"


def test_lists_are_read_page_by_page(member: Caller) -> None:
    file = uploaded(member)
    names = [ask(member, input_file_id=file).json()["id"] for _ in range(5)][::-1]
    page = member.get("/v1/batches?limit=2").json()
    assert [row["id"] for row in page["data"]] == names[:2]
    rest = member.get(f"/v1/batches?limit=10&after={page['last_id']}").json()
    assert [row["id"] for row in rest["data"]] == names[2:]
    assert (page["has_more"], rest["has_more"]) == (True, False)
    for query in ("limit=101", "limit=x", "after=x", "order=asc"):
        assert error_of(member.get(f"/v1/batches?{query}"), 400)["param"] == query.split("=")[0]


def test_so_many_batches_at_once_and_no_more(
    member: Caller, operator: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_batches, "MAX_LIVE", 2)
    file = uploaded(member)
    assert [ask(member, input_file_id=file).status_code for _ in range(3)] == [200, 200, 409]
    assert ask(operator).status_code == 200
    FileBatch.objects.filter(owner=member.user).update(state="completed")
    assert ask(member, input_file_id=file).status_code == 200


def test_new_batches_count_as_batches_and_looks_at_them_do_not(member: Caller) -> None:
    set_limits(actor=None, subject="user:the-user", batch_per_minute=2)
    file = uploaded(member)
    name = ask(member, input_file_id=file).json()["id"]
    for _ in range(5):
        assert member.get(f"/v1/batches/{name}").status_code == 200
    error_of(ask(member, input_file_id=file), 429)


def test_the_same_key_makes_the_same_batch(member: Caller, redis_client: Any) -> None:
    file, key = uploaded(member), {"Idempotency-Key": "k1"}
    first, second = (ask(member, key, input_file_id=file) for _ in range(2))
    assert first.json() == second.json()
    assert second.headers["Idempotent-Replayed"] == "true"
    error_of(ask(member, key, input_file_id=file, endpoint=ENDPOINTS[1]), 409)
    assert FileBatch.objects.count() == 1


def test_without_a_broker_the_batch_is_there_and_waits(
    member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any) -> None:
        raise BrokerUnavailableError("away")

    monkeypatch.setattr(batch_views, "ring_batch", away)
    assert ask(member).json()["status"] == "validating"
