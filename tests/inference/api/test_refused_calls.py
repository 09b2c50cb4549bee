"""GET /api/requests/{id} of a call that never became a job."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from inference import refused_calls
from inference.presence import WorkerReport, announce
from inference.refused_calls import find_refused_calls
from tests.conftest import Caller, make_caller
from tests.inference.api.conftest import SECRET, MakeJob


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any) -> None:
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))


def call(caller: Caller, body: Any, path: str = "/api/infer", request_id: str = "mine") -> int:
    headers = {**caller.headers, "X-Request-ID": request_id}
    response = Client().post(
        path, data=json.dumps(body), content_type="application/json", headers=headers
    )
    assert response["X-Request-ID"] == request_id
    return int(response.status_code)


def why(caller: Caller, request_id: str = "mine") -> list[dict[str, Any]]:
    response = caller.get(f"/api/requests/{request_id}")
    if response.status_code == 404:
        return []
    body = response.json()
    assert (body["success"], body["results"]) == (True, [])
    return list(body["refusals"])


def test_a_call_over_the_rate_is_told_by_its_id(settings: Any, member: Caller, model: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, rate_inference=0)
    assert call(member, {"text": "hi"}) == 429
    (refusal,) = why(member)
    assert (refusal["owner"], refusal["call"]) == ("the-user", "POST /api/infer")
    assert refusal["key"] == member.key.split("_")[1]
    assert (refusal["status"], refusal["error"]["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert refusal["error"]["details"]["limit"] == "inference_per_minute"


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/api/stream_infer", {"text": "hi", "temperature": 3}, "INVALID_INPUT"),
        ("/api/infer", {"text": "hi", "model": "none"}, "MODEL_NOT_FOUND"),
        ("/v1/chat/completions", {"model": "none", "messages": []}, "INVALID_INPUT"),
        ("/v1/embeddings", {"model": "none", "input": "hi"}, "MODEL_NOT_FOUND"),
    ],
)
def test_so_is_every_other_refusal_at_both_doors(
    member: Caller, model: Any, path: str, body: Any, code: str
) -> None:
    assert call(member, body, path) in (400, 404)
    assert [refusal["error"]["code"] for refusal in why(member)] == [code]


def test_a_right_that_is_missing_is_told_too(operator: Caller, guest: Caller, model: Any) -> None:
    assert call(guest, {"text": "hi"}) == 403
    # A guest has no jobs to read; who sees all requests reads it.
    assert guest.get("/api/requests/mine").status_code == 403
    assert why(operator) == []
    (refusal,) = why(make_caller("admin"))
    assert (refusal["owner"], refusal["error"]["code"]) == ("the-guest", "PERMISSION_DENIED")


def test_words_are_the_callers_alone(member: Caller, admin: Caller, model: Any) -> None:
    assert call(member, {"text": "hi", SECRET: 1}) == 400
    assert SECRET in json.dumps(why(member))
    (seen,) = why(admin)
    assert SECRET not in json.dumps(seen)
    assert seen["error"]["details"] is None


def test_others_and_an_admins_narrow_key_see_only_their_own(
    member: Caller, operator: Caller, model: Any
) -> None:
    narrow = make_caller("admin", ("infer",))
    for caller in (member, operator, narrow):
        call(caller, {"text": "hi", "temperature": 3})
    for caller in (member, operator, narrow):
        assert [refusal["owner"] for refusal in why(caller)] == [caller.user.username]
    assert len(find_refused_calls("mine", narrow.user, sees_all=True)) == 3


def test_who_keeps_no_words_leaves_none(member: Caller, model: Any, redis_client: Any) -> None:
    member.user.retention = "none"
    member.user.save()
    assert call(member, {"text": "hi", SECRET: 1}) == 400
    assert SECRET.encode() not in b"".join(redis_client.hvals("lg:refused_call:mine"))
    assert why(member)[0]["error"]["code"] == "INVALID_INPUT"


def test_a_job_of_the_same_id_stands_beside_it(member: Caller, make_job: MakeJob) -> None:
    make_job(member, request_id="mine")
    call(member, {"text": "hi", "temperature": 3})
    body = member.get("/api/requests/mine").json()
    assert (len(body["results"]), len(body["refusals"])) == (1, 1)


def test_it_goes_after_an_hour_and_a_wild_client_leaves_few(
    member: Caller, model: Any, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_calls, "_MOST_A_MINUTE", 2)
    for number in range(4):
        call(member, {}, request_id=f"r{number}")
    kept = redis_client.keys("lg:refused_call:*")
    assert sorted(kept) == [b"lg:refused_call:r0", b"lg:refused_call:r1"]
    assert all(0 < redis_client.ttl(name) <= 3600 for name in kept)


def test_without_redis_a_refusal_stays_one(settings: Any, member: Caller, model: Any) -> None:
    settings.REDIS_URL = "unix:///nowhere.sock"
    assert call(member, {"text": "hi", "temperature": 3}) == 400
    assert why(member) == []
