"""`GET /api/system/status?deep=true`: a job of the caller's, its outcome told; tests/e2e has a real token."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inference import deep_check
from inference.models import InferenceJob
from inference.presence import EngineReport, WorkerReport, announce
from inference.protocol import DoneEvent, ErrorEvent, FinishReason, Timings, Usage
from inference.states import ModelState
from inference.stream import JobKeys, append
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import MODEL, Caller

DEEP = "/api/system/status?deep=true"


@pytest.fixture(autouse=True)
def no_remembered_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_check, "_last", None)
    monkeypatch.setattr(deep_check, "TIME_LIMIT", 1.5)


@pytest.fixture
def worker(redis_client: Any, model: Any) -> None:
    engine = EngineReport(MODEL, ModelState.READY, max_model_len=512)
    announce(redis_client, WorkerReport("w", "1", 1, "here", 0.0, 0, 8, (engine,)))
    redis_client.persist("lg:worker:w")  # a busy machine may take longer than a report holds


@pytest.fixture
def answering(redis_client: Any, worker: None) -> Iterator[list[Any]]:
    """A stand-in for the worker: it ends each job that is rung for with the event that is set."""
    event: list[Any] = []
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            found = redis_client.blpop("lg:inference", timeout=1)
            if not found:
                continue
            job_id = job_of(found[1])
            pipeline = redis_client.pipeline()
            append(pipeline, JobKeys(job_id), "1-1", event[0], 60)
            pipeline.execute()

    thread = threading.Thread(target=serve)
    thread.start()
    yield event
    stop.set()
    thread.join()


def job_of(message: bytes) -> str:
    """The job's id in a message for Celery."""
    body = json.loads(message)["body"]
    text = base64.b64decode(body).decode()
    return re.findall(r"[0-9a-f]{8}-[0-9a-f-]{27}", text)[0]


def done() -> DoneEvent:
    return DoneEvent("OK", FinishReason.LENGTH, Usage(3, 1), Timings(), MODEL, "cpu")


def test_a_token_that_comes_is_told(member: Caller, answering: list[Any]) -> None:
    answering.append(done())
    response = member.get(DEEP)
    assert response.status_code == 200
    deep = response.json()["deep"]
    assert (deep["healthy"], deep["detail"]) == (True, f"'{MODEL}' has generated a token")
    (job,) = InferenceJob.objects.all()
    assert (job.owner, job.params["max_tokens"]) == (member.user, 1)


def test_an_answer_holds_for_a_while(member: Caller, answering: list[Any]) -> None:
    answering.append(done())
    member.get(DEEP)
    assert member.get(DEEP).status_code == 200
    assert InferenceJob.objects.count() == 1


def test_a_job_that_fails_is_the_finding(member: Caller, answering: list[Any]) -> None:
    answering.append(ErrorEvent(ErrorCode.INFERENCE_FAILED, "The engine died."))
    response = member.get(DEEP)
    assert response.status_code == 503
    assert response.json()["deep"]["detail"] == "INFERENCE_FAILED: The engine died."


def test_a_token_that_does_not_come_is_waited_for_no_longer_than_the_limit(
    member: Caller, worker: None
) -> None:
    response = member.get(DEEP)
    assert response.status_code == 503
    assert "No token within" in response.json()["deep"]["detail"]
    assert InferenceJob.objects.get().state == "cancelled"


def test_without_a_worker_there_is_nothing_to_wait_for(
    member: Caller, redis_client: Any, model: Any
) -> None:
    deep = member.get(DEEP).json()["deep"]
    assert deep["detail"].startswith("NO_WORKER")
    assert not InferenceJob.objects.exists()


def test_while_another_one_asks_nobody_waits(
    member: Caller, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with deep_check._asking:
        deep = member.get(DEEP).json()["deep"]
    assert deep["detail"] == "another check is running"


def test_who_may_not_infer_may_not_ask_for_a_token(guest: Caller, worker: None) -> None:
    assert guest.get("/api/system/status").status_code == 200
    response = guest.get(DEEP)
    assert response.status_code == 403
    assert "deep" in response.json()["error"]["message"]
    assert not InferenceJob.objects.exists()


def test_a_wrong_word_is_refused_by_name(member: Caller, redis_client: Any) -> None:
    response = member.get("/api/system/status?deep=perhaps")
    assert response.status_code == 400
    assert response.json()["error"]["details"][0]["field"] == "deep"
