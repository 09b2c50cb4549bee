"""The first call under a key: how it is found, waited for, forgotten; and who may come after it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.urls import get_resolver
from django.utils import timezone

from accounts.services.limits import set_limits
from inference import job_contents
from inference.dispatch import BrokerUnavailableError
from inference.models import Batch, IdempotentCall, InferenceJob
from inference.services import batches, submission
from inference.services.idempotency import (
    CallKey,
    KeyIsUsedError,
    find_jobs,
    remove_expired,
    use_key,
)
from llamagpu.http.endpoints import walk_views
from llamagpu.lib.error_codes import ErrorCode
from tests.conftest import MODEL, Caller
from tests.inference.idempotency.conftest import Answer, InstantWorker, Spent, send
from tests.inference.worker.conftest import wait_until

HI = {"text": "hi"}


@pytest.fixture
def in_threads() -> Iterator[Callable[[Callable[[], Answer], int], list[Answer]]]:
    """Runs a call at the same moment in many threads, each with a connection of its own."""

    def run(call: Callable[[], Answer], count: int) -> list[Answer]:
        barrier = threading.Barrier(count)

        def one(_: int) -> Answer:
            try:
                barrier.wait(30)
                return call()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(one, range(count)))

    yield run


@pytest.mark.parametrize(
    ("path", "body", "num_jobs"),
    [
        ("/api/infer", HI, 1),
        ("/v1/completions", {"model": MODEL, "prompt": ["a", "b", "c"]}, 3),
        ("/api/batch_infer", {"inputs": ["a", "b"], "async": True}, 2),
    ],
)
def test_twenty_calls_at_once_make_one_job_each_prompt(
    member: Caller, worker: InstantWorker, spent: Spent, in_threads: Any,
    path: str, body: dict[str, Any], num_jobs: int,
) -> None:  # fmt: skip
    set_limits(actor=None, subject=f"user:{member.user.username}", batch_per_minute=-1)
    answers = in_threads(lambda: send(member, path, body), 20)
    assert InferenceJob.objects.count() == len(worker.rung) == num_jobs
    assert {answer.status for answer in answers} <= {200, 202}
    assert sum(not answer.is_replayed for answer in answers) == 1
    assert spent() == 5 * num_jobs
    texts = {str(answer.body.get("result") or answer.body.get("choices")) for answer in answers}
    assert len(texts) == 1


def test_the_second_call_waits_for_a_job_that_still_runs(
    member: Caller, worker: InstantWorker
) -> None:
    worker.is_idle = True
    answers: list[Answer] = []
    callers = [
        threading.Thread(target=lambda: answers.append(send(member, "/api/infer", HI)))
        for _ in range(2)
    ]
    callers[0].start()
    wait_until(lambda: worker.rung, "the first call was queued")
    callers[1].start()
    wait_until(lambda: IdempotentCall.objects.exists(), "its key was written")
    worker.end(worker.rung[0])
    for caller in callers:
        caller.join(30)
    assert [answer.status for answer in answers] == [200, 200]
    assert sorted(answer.is_replayed for answer in answers) == [False, True]
    assert len(worker.rung) == 1


def test_a_call_with_a_key_goes_on_for_a_while_when_its_caller_leaves(
    member: Caller, worker: InstantWorker
) -> None:
    send(member, "/api/infer", HI)
    send(member, "/api/infer", HI, key=None)
    with_key, without = InferenceJob.objects.order_by("created_at")
    assert (with_key.reader_grace, without.reader_grace) == (30.0, 0.0)
    assert without.call is None


def test_a_key_is_new_again_after_a_day(member: Caller, worker: InstantWorker) -> None:
    first = send(member, "/api/infer", HI)
    almost = timezone.now() - timedelta(hours=23, minutes=59)
    IdempotentCall.objects.update(created_at=almost)
    assert remove_expired() == 0
    assert send(member, "/api/infer", HI).is_replayed
    IdempotentCall.objects.update(created_at=timezone.now() - timedelta(hours=24, seconds=1))
    another = send(member, "/api/infer", {"text": "ho"})
    assert (another.status, another.is_replayed) == (200, False)
    assert another.body["metadata"]["job_id"] != first.body["metadata"]["job_id"]


def test_expired_keys_are_removed_in_pieces_and_their_jobs_stay(
    member: Caller, worker: InstantWorker
) -> None:
    send(member, "/api/infer", HI)
    IdempotentCall.objects.bulk_create(
        IdempotentCall(owner=member.user, key=f"old{number}", fingerprint="f")
        for number in range(1200)
    )
    IdempotentCall.objects.update(created_at=timezone.now() - timedelta(days=2))
    assert remove_expired(limit=700) == 700
    assert remove_expired() == 501
    assert not IdempotentCall.objects.exists()
    assert InferenceJob.objects.get().call is None


def test_texts_that_were_not_to_be_kept_are_a_conflict(
    member: Caller, worker: InstantWorker
) -> None:
    for path in ("/api/infer", "/api/stream_infer", "/v1/completions"):
        body = {"model": MODEL, "prompt": "hi"} if path.startswith("/v1") else HI
        send(member, path, body, key=path)
        InferenceJob.objects.update(content_until=timezone.now())
        job_contents.remove_due()
        worker.forget_streams()
        again = send(member, path, body, key=path)
        assert again.status == 409
        assert again.body["error"]["code"].upper() == "CONFLICT"
        assert "not kept" in again.body["error"]["message"]
    assert len(worker.rung) == 3


def test_vectors_that_are_gone_are_a_conflict(member: Caller, worker: InstantWorker) -> None:
    body = {"model": MODEL, "input": ["a", "b"]}
    send(member, "/v1/embeddings", body)
    worker.forget_streams()
    InferenceJob.objects.update(answer=None)
    assert send(member, "/v1/embeddings", body).status == 409


def test_a_job_or_batch_that_was_removed_is_a_conflict(
    member: Caller, worker: InstantWorker
) -> None:
    send(member, "/api/infer", HI)
    send(member, "/api/batch_infer", {"inputs": ["a"], "async": True}, key="b")
    InferenceJob.objects.all().delete()
    Batch.objects.all().delete()
    for path, body, key in (
        ("/api/infer", HI, "k1"),
        ("/api/batch_infer", {"inputs": ["a"], "async": True}, "b"),
    ):
        again = send(member, path, body, key=key)
        assert again.status == 409
        assert "removed" in again.body["error"]["message"]


def test_a_broker_that_is_away_leaves_the_key_free(
    member: Caller, worker: InstantWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise BrokerUnavailableError("away")

    calls: list[tuple[str, dict[str, Any]]] = [
        ("/api/infer", HI),
        ("/api/batch_infer", {"inputs": ["a"], "async": True}),
    ]
    with monkeypatch.context() as broken:
        broken.setattr(submission, "ring", fail)
        broken.setattr(batches, "ring_many", fail)
        for path, body in calls:
            assert send(member, path, body, key=path).status == 503
    assert not IdempotentCall.objects.exists()
    for path, body in calls:
        again = send(member, path, body, key=path)
        assert (again.status in (200, 202), again.is_replayed) == (True, False)


def test_the_broker_fails_in_the_middle_of_a_call_with_several_prompts(
    member: Caller, worker: InstantWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker.is_idle = True

    def ring(job: Any, queue: str) -> None:
        if len(worker.rung) == 2:
            raise BrokerUnavailableError("away")
        worker.ring(job)

    body = {"model": MODEL, "prompt": ["a", "b", "c"]}
    with monkeypatch.context() as broken:
        broken.setattr(submission, "ring", ring)
        assert send(member, "/v1/completions", body).status == 503
    ends = InferenceJob.objects.order_by("error_code").values_list("error_code", flat=True)
    assert list(ends) == [ErrorCode.BACKEND_UNAVAILABLE, ErrorCode.CANCELLED, ErrorCode.CANCELLED]
    assert not IdempotentCall.objects.exists()


def test_a_key_that_another_transaction_has_written_leaves_this_one_usable(
    member: Caller, worker: InstantWorker
) -> None:
    key = CallKey(member.user, "k", "f" * 64)
    use_key(key, 2)
    with transaction.atomic():
        with pytest.raises(KeyIsUsedError):
            use_key(key, 2)
        assert IdempotentCall.objects.count() == 2
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def test_another_part_of_the_same_call_that_still_runs_is_ended_with_its_key(
    member: Caller, worker: InstantWorker
) -> None:
    """One prompt's job met a shortage; the whole call was an error that asks to come again."""
    worker.is_idle = True
    body = {"model": MODEL, "prompt": ["a", "b"]}
    caller = threading.Thread(target=send, args=(member, "/v1/completions", body))
    caller.start()
    wait_until(lambda: len(worker.rung) == 2, "both were queued")
    worker.error = ErrorCode.INSUFFICIENT_MEMORY
    worker.end(worker.rung[0])
    caller.join(30)
    worker.error, worker.is_idle = None, False
    assert send(member, "/v1/completions", body).status == 200
    states = dict(InferenceJob.objects.values_list("pk", "error_code"))
    assert sorted(states.values()) == ["", "", "CANCELLED", "INSUFFICIENT_MEMORY"]


def test_the_fingerprint_does_not_give_the_body_away(
    member: Caller, worker: InstantWorker, settings: Any
) -> None:
    send(member, "/api/infer", HI)
    send(member, "/api/infer", HI, key="k2")
    one, two = IdempotentCall.objects.values_list("fingerprint", flat=True)
    assert one == two
    settings.SECRET_KEY = "another installation's"
    send(member, "/api/infer", HI, key="k3")
    assert IdempotentCall.objects.get(key="k3").fingerprint != one
    assert find_jobs(CallKey(member.user, "unheard", "f")) is None


TAKERS = {
    "/api/infer", "/api/stream_infer", "/api/batch_infer", "/v1/chat/completions",
    "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/batches",
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/keys", {"name": "second"}),
        ("/api/models", {"source": "path:x"}),
        (f"/api/models/{MODEL}/load", {}),
        ("/api/users", {"username": "new", "password": "x" * 20, "role": "user"}),
    ],
)
def test_other_posts_refuse_the_header_and_do_nothing(
    admin: Caller, model: Any, path: str, body: dict[str, Any]
) -> None:
    refused = admin.post(path, body, HTTP_IDEMPOTENCY_KEY="k1")
    assert refused.status_code == 400
    error = refused.json()["error"]
    assert error["message"].startswith("Idempotency-Key: Not taken here")


def test_exactly_the_calls_that_make_work_take_the_header() -> None:
    takers = {
        f"/{route}"
        for route, view in walk_views(get_resolver().url_patterns)
        if getattr(view, "takes_idempotency_key", False)
    }
    assert {path.replace("/api/v1/", "/api/") for path in takers} == TAKERS
