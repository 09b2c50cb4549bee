"""GET /api/jobs/{id}/events: who may read, from where, and what is left when the stream is gone."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import redis
from django.test import Client
from django.utils import timezone

from inference import resuming
from inference.models import InferenceJob
from inference.protocol import DoneEvent, ErrorEvent, FinishReason, Timings, TokenEvent, Usage
from inference.stream import JobKeys, append
from inference.stream_hub import hub_of_this_loop
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import Caller, make_caller

MakeJob = Callable[..., InferenceJob]
DONE = DoneEvent("one two", FinishReason.STOP, Usage(3, 2), Timings(), "m", "cpu")
ENDED: dict[str, Any] = {
    "state": "succeeded",
    "output": "one two",
    "answer": None,
    "finish_reason": "stop",
    "prompt_tokens": 3,
    "completion_tokens": 2,
}


@pytest.fixture
def ended_job(make_job: MakeJob, member: Caller) -> InferenceJob:
    return make_job(member, **ENDED, finished_at=timezone.now())


def publish(client: Any, job: InferenceJob, *events: Any, attempt: int = 1) -> None:
    pipeline = client.pipeline()
    for number, event in enumerate(events, start=1):
        append(pipeline, JobKeys(str(job.pk)), f"{attempt}-{number}", event, 60)
    pipeline.execute()


def get(caller: Caller, job_id: Any, cursor: str | None = None, query: str = "") -> Any:
    headers = caller.headers | ({} if cursor is None else {"Last-Event-ID": cursor})
    return Client().get(f"/api/jobs/{job_id}/events{query}", headers=headers)


def events_in(response: Any) -> list[tuple[str, str, dict[str, Any]]]:
    """(id, event, data) of each event of a stream that ends."""

    async def read() -> str:
        try:
            return "".join([part.decode() async for part in response.streaming_content])
        finally:
            await hub_of_this_loop().close()

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream"
    found = []
    for frame in asyncio.run(read()).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in frame.splitlines() if line)
        if "data" in fields:
            found.append((fields["id"], fields.get("event", ""), json.loads(fields["data"])))
    return found


# ---------------------------------------------------------------- who


def test_only_the_owner_reads_a_jobs_events(
    ended_job: InferenceJob, admin: Caller, operator: Caller, guest: Caller
) -> None:
    missing = get(admin, uuid.uuid4())
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "JOB_NOT_FOUND"
    for outsider in (admin, operator):
        refused = get(outsider, ended_job.pk)
        assert refused.status_code == 404
        assert refused.json()["error"] == missing.json()["error"]
    assert get(guest, ended_job.pk).status_code == 403


def test_without_a_key_nothing_is_told(ended_job: InferenceJob) -> None:
    assert Client().get(f"/api/jobs/{ended_job.pk}/events").status_code == 401


def test_a_key_that_may_not_infer_reads_nothing(ended_job: InferenceJob, db: None) -> None:
    other = make_caller("operator", scopes=("models:read",))
    assert get(other, ended_job.pk).status_code == 403


# ---------------------------------------------------------------- from where


def test_the_header_goes_before_the_parameter(
    ended_job: InferenceJob, member: Caller, redis_client: Any
) -> None:
    publish(redis_client, ended_job, TokenEvent("one ", 0), TokenEvent("two", 1), DONE)
    response = get(member, ended_job.pk, "1-2", "?cursor=1-1")
    assert response.headers["X-Job-ID"] == str(ended_job.pk)
    ((entry_id, _, data),) = events_in(response)
    assert entry_id == "1-3"
    assert data["final_text"] == "one two"
    assert data["usage"]["total_tokens"] == 5
    ids = [event[0] for event in events_in(get(member, ended_job.pk, query="?cursor=1-1"))]
    assert ids == ["1-2", "1-3"]


def test_without_a_cursor_all_is_read_as_the_first_time(
    ended_job: InferenceJob, member: Caller, redis_client: Any
) -> None:
    publish(redis_client, ended_job, TokenEvent("one ", 0), TokenEvent("two", 1), DONE)
    events = events_in(get(member, ended_job.pk))
    assert "".join(data["token"] for _, _, data in events) == "one two"


@pytest.mark.parametrize("cursor", ["1-3", "1-4", "2-1", "999999999-1"])
def test_who_has_all_is_told_to_stop(
    ended_job: InferenceJob, member: Caller, redis_client: Any, cursor: str
) -> None:
    publish(redis_client, ended_job, TokenEvent("one ", 0), TokenEvent("two", 1), DONE)
    response = get(member, ended_job.pk, cursor)
    assert response.status_code == 204
    assert response.content == b""


@pytest.mark.parametrize("cursor", ["x", "1", "-1-1", "1-2-3", "1.5-1", "9" * 40 + "-1", "1 -1"])
@pytest.mark.parametrize("name", ["Last-Event-ID", "cursor"])
def test_a_malformed_cursor_is_named(
    ended_job: InferenceJob, member: Caller, name: str, cursor: str
) -> None:
    if name == "cursor":
        response = get(member, ended_job.pk, query=f"?cursor={cursor}")
    else:
        response = get(member, ended_job.pk, cursor)
    assert response.status_code == 400
    assert name in json.dumps(response.json()["error"])


@pytest.mark.parametrize("query", ["?after=1-1", "?cursor=1-1&cursor=1-2"])
def test_other_parameters_are_refused(ended_job: InferenceJob, member: Caller, query: str) -> None:
    assert get(member, ended_job.pk, query=query).status_code == 400


# ---------------------------------------------------------------- the stream is gone


def test_the_whole_text_comes_from_the_row(ended_job: InferenceJob, member: Caller) -> None:
    ((entry_id, name, data),) = events_in(get(member, ended_job.pk))
    assert (entry_id, name) == ("2-1", "")
    assert data["final_text"] == "one two"
    assert (data["is_complete"], data["finish_reason"]) == (True, "stop")
    assert data["usage"] == {
        "prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cached_tokens": 0,
    }  # fmt: skip


def test_who_has_a_part_is_told_to_drop_it_and_gets_the_whole(
    ended_job: InferenceJob, member: Caller
) -> None:
    (restart, end) = events_in(get(member, ended_job.pk, "1-1"))
    assert restart[:2] == ("1-1", "restart")
    assert end[0] == "2-1"
    assert end[2]["final_text"] == "one two"
    assert get(member, ended_job.pk, "2-1").status_code == 204


def test_an_error_comes_from_the_row_too(make_job: MakeJob, member: Caller) -> None:
    job = make_job(
        member, state="failed", error_code="INFERENCE_FAILED", error_message="It broke.",
        finished_at=timezone.now(),
    )  # fmt: skip
    ((_, name, data),) = events_in(get(member, job.pk, "1-1"))
    assert name == "error"
    assert data["error"]["code"] == "INFERENCE_FAILED"
    assert data["error"]["message"] == "It broke."


def test_texts_that_were_not_kept_are_a_conflict(ended_job: InferenceJob, member: Caller) -> None:
    InferenceJob.objects.update(output="", content_removed_at=timezone.now())
    response = get(member, ended_job.pk, "1-1")
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "CONFLICT"


def test_without_redis_an_ended_job_is_read_from_its_row(
    ended_job: InferenceJob, member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "sync_client", away)
    ((_, _, data),) = events_in(get(member, ended_job.pk))
    assert data["final_text"] == "one two"


def test_without_redis_a_live_job_is_for_later(
    make_job: MakeJob, member: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(member, state="running")
    monkeypatch.setattr(resuming, "sync_client", away)
    response = get(member, job.pk)
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "5"


def away(url: str) -> Any:
    raise redis.ConnectionError("no")


# ---------------------------------------------------------------- live jobs


def test_a_live_job_is_read_to_its_end(
    make_job: MakeJob, member: Caller, redis_client: Any
) -> None:
    job = make_job(member, state="running")
    publish(redis_client, job, TokenEvent("one ", 0), TokenEvent("two", 1))
    response = get(member, job.pk, "1-1")
    pipeline = redis_client.pipeline()
    append(pipeline, JobKeys(str(job.pk)), "1-3", ErrorEvent(ErrorCode.CANCELLED, "over"), 60)
    pipeline.execute()
    assert [(event[0], event[1]) for event in events_in(response)] == [
        ("1-2", ""),
        ("1-3", "error"),
    ]


def test_a_cursor_of_an_attempt_that_never_was_is_beyond_the_end(
    make_job: MakeJob, member: Caller
) -> None:
    job = make_job(member, state="queued")
    assert get(member, job.pk, "7-1").status_code == 204


def test_an_error_is_json_whatever_the_client_accepts(member: Caller, redis_client: Any) -> None:
    response = Client().get(
        f"/api/jobs/{uuid.uuid4()}/events",
        headers=member.headers | {"Accept": "text/event-stream"},
    )
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "JOB_NOT_FOUND"
