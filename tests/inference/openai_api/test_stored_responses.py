"""Stored responses: read again as they were given, gone on from, found by their owner alone."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.http import HttpResponse
from django.utils import timezone

from inference import wire
from inference.job_contents import remove_due
from inference.models import InferenceJob, StoredResponse
from inference.openai_api import answers
from inference.openai_api.submission import Submitted
from inference.presence import WorkerReport, announce
from inference.protocol import (
    ChatMessage,
    DoneEvent,
    ErrorEvent,
    FinishReason,
    Prompt,
    Timings,
    Usage,
)
from inference.services.settlement import settle_jobs, settlement_of
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import MODEL, Caller
from tests.inference.api.test_key_models import limited_to

FLAT = {"type": "function", "name": "weather", "parameters": {"type": "object"}}


@pytest.fixture(autouse=True)
def told(redis_client: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each call would have answered had its model said `Hello`, or called a function."""
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8))
    bodies: list[dict[str, Any]] = []

    async def give(request: Any, submitted: Submitted, answer: Any) -> HttpResponse:
        bodies.append(answer.body(submitted, [done()]))
        return HttpResponse(json.dumps(bodies[-1]))

    monkeypatch.setattr(answers, "collect", give)
    return bodies


def done(text: str = '{"city": "Rome"}') -> DoneEvent:
    return DoneEvent(text, FinishReason.STOP, Usage(9, 4, 2), Timings(), MODEL, "cpu")


def ask(caller: Caller, **fields: Any) -> dict[str, Any]:
    """The answer to a call whose job has ended."""
    body = {"model": MODEL, "input": "hi", "max_output_tokens": 9, **fields}
    response = caller.post("/v1/responses", json.dumps(body))
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = json.loads(response.content)
    job = InferenceJob.objects.order_by("created_at").last()
    assert job is not None
    settle_jobs([settlement_of(str(job.pk), 1, done())])
    return answer


def read(caller: Caller, name: str, more: str = "") -> Any:
    return caller.get(f"/v1/responses/{name}{more}")


def delete(caller: Caller, name: str) -> Any:
    from django.test import Client

    return Client().delete(f"/v1/responses/{name}", headers=caller.headers)


def test_it_is_read_again_as_it_was_given(member: Caller, model: Any) -> None:
    answer = ask(member, instructions="Be brief.", user="u1")
    assert (answer["store"], answer["instructions"]) == (True, "Be brief.")
    again = read(member, answer["id"])
    assert again.status_code == 200
    assert again.json() == answer


def test_calls_keep_their_ids(member: Caller, model: Any) -> None:
    answer = ask(member, tools=[FLAT], tool_choice="required")
    (call,) = answer["output"]
    assert (call["type"], call["name"], len(call["call_id"])) == ("function_call", "weather", 9)
    assert read(member, answer["id"]).json() == answer


def test_what_is_not_to_be_stored_is_not(member: Caller, model: Any) -> None:
    answer = ask(member, store=False)
    assert answer["store"] is False
    assert read(member, answer["id"]).status_code == 404
    assert not StoredResponse.objects.exists()


def test_a_conversation_goes_on(member: Caller, model: Any) -> None:
    first = ask(member, instructions="Be brief.", input="What is warm?")
    second = ask(member, instructions="Be long.", input="And now?",
                 previous_response_id=first["id"])  # fmt: skip
    assert second["previous_response_id"] == first["id"]
    job = InferenceJob.objects.order_by("created_at").last()
    assert job is not None
    assert wire.from_builtins(Prompt, job.prompt).messages == (
        ChatMessage("system", "Be long."),
        ChatMessage("user", "What is warm?"),
        ChatMessage("assistant", '{"city": "Rome"}'),
        ChatMessage("user", "And now?"),
    )
    assert read(member, second["id"]).json() == second


def test_a_call_of_a_function_is_gone_on_from(member: Caller, model: Any) -> None:
    first = ask(member, tools=[FLAT], tool_choice="required")
    (call,) = first["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "dry"}
    ask(member, input=[result], previous_response_id=first["id"])
    job = InferenceJob.objects.order_by("created_at").last()
    assert job is not None
    messages = wire.from_builtins(Prompt, job.prompt).messages or ()
    assert [turn.role for turn in messages] == ["user", "assistant", "tool"]
    assert messages[1].tool_calls[0].id == messages[2].tool_call_id == call["call_id"]


def test_its_input_is_listed_in_pages(member: Caller, model: Any) -> None:
    first = ask(member, instructions="Be brief.", input="one")
    second = ask(member, input=[{"role": "user", "content": "two"}],
                 previous_response_id=first["id"])  # fmt: skip
    page = read(member, second["id"], "/input_items?order=asc").json()
    assert [(item["role"], item["content"][0]["text"]) for item in page["data"]] == [
        ("user", "one"), ("assistant", '{"city": "Rome"}'), ("user", "two"),
    ]  # fmt: skip
    assert page["has_more"] is False
    newest = read(member, second["id"], "/input_items?limit=2").json()
    assert [item["content"][0]["text"] for item in newest["data"]] == ["two", '{"city": "Rome"}']
    assert newest["has_more"] is True
    rest = read(member, second["id"], f"/input_items?after={newest['last_id']}").json()
    assert [item["content"][0]["text"] for item in rest["data"]] == ["one"]
    for query, param in (
        ("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"),
        ("after=in_0", "after"), ("include=all", "include"),
    ):  # fmt: skip
        refused = read(member, second["id"], f"/input_items?{query}")
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == param


def test_one_that_runs_or_failed_says_so(member: Caller, model: Any) -> None:
    answer = ask(member)
    InferenceJob.objects.update(state="queued")
    body = read(member, answer["id"]).json()
    assert (body["status"], body["output"], body["usage"]) == ("queued", [], None)
    refused = member.post(
        "/v1/responses",
        json.dumps({"model": MODEL, "input": "x", "previous_response_id": answer["id"]}),
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "previous_response_id"
    job = InferenceJob.objects.get()
    event = ErrorEvent(ErrorCode.INFERENCE_FAILED, "it died")
    settle_jobs([settlement_of(str(job.pk), 1, event)])
    body = read(member, answer["id"]).json()
    assert body["status"] == "failed"
    assert body["error"] == {"code": "inference_failed", "message": "it died"}


def test_it_can_be_removed(member: Caller, model: Any) -> None:
    answer = ask(member)
    gone = delete(member, answer["id"])
    assert (gone.status_code, gone.json()["deleted"]) == (200, True)
    assert read(member, answer["id"]).status_code == 404
    assert delete(member, answer["id"]).status_code == 404
    assert InferenceJob.objects.exists()


@pytest.mark.parametrize("more", ["", "/input_items"])
def test_nobody_else_finds_it(
    member: Caller, admin: Caller, operator: Caller, model: Any, more: str
) -> None:
    answer = ask(member)
    missing = read(member, "resp_" + "0" * 32, more)
    assert missing.status_code == 404
    assert missing.json()["error"]["type"] == "not_found_error"
    for other in (admin, operator, limited_to(member, "other")):
        found = read(other, answer["id"], more)
        assert found.status_code == 404
        assert found.json()["error"]["message"].replace(answer["id"], "X") == missing.json()[
            "error"
        ]["message"].replace("resp_" + "0" * 32, "X")
        assert delete(other, answer["id"]).status_code == 404
    for name in ("resp_x", "x", "resp_" + "0" * 31, "../models"):
        assert read(member, name).status_code == 404


def test_another_ones_cannot_be_gone_on_from(member: Caller, operator: Caller, model: Any) -> None:
    answer = ask(member)
    body = {"model": MODEL, "input": "x", "previous_response_id": answer["id"]}
    response = operator.post("/v1/responses", json.dumps(body))
    assert response.status_code == 404
    assert response.json()["error"]["param"] == "previous_response_id"
    assert InferenceJob.objects.count() == 1


def test_it_goes_with_its_texts(member: Caller, model: Any) -> None:
    answer = ask(member)
    InferenceJob.objects.update(content_until=timezone.now() - timedelta(seconds=1))
    assert remove_due() == 1
    assert not StoredResponse.objects.exists()
    assert read(member, answer["id"]).status_code == 404


def test_a_conversation_that_has_become_too_long_is_refused(
    member: Caller, model: Any, settings: Any
) -> None:
    first = ask(member, input="a" * 2000)
    InferenceJob.objects.update(
        prompt=wire.to_builtins(Prompt(messages=(ChatMessage("user", "b " * 99_990),)))
    )
    body = {"model": MODEL, "input": "c" * 100, "previous_response_id": first["id"]}
    response = member.post("/v1/responses", json.dumps(body))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == "previous_response_id"
