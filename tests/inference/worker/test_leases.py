"""What a worker holds in Redis while it runs a job, and what it leaves when it lets go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inference.protocol import GenerationJob, Prompt, SamplingParams
from inference.stream import JobKeys
from inference.worker.leases import Claim, Leases


@pytest.fixture
def leases(redis_client: Any) -> Iterator[Leases]:
    held = Leases(redis_client, "w@here", "one", lambda job, reason: None, lambda job: None)
    yield held
    for job_id in ("a", "b"):  # its thread must write nothing into the next test's server
        held.release(job_id)
    held.close()


def make_job(job_id: str) -> GenerationJob:
    return GenerationJob(job_id, 1, "req_1", "m", Prompt(text="x"), SamplingParams(), 0.0, 0.0)


def test_only_one_holds_a_job_at_a_time(leases: Leases, redis_client: Any) -> None:
    other = Leases(redis_client, "w@there", "one", lambda job, reason: None, lambda job: None)
    assert leases.claim(make_job("a")) is Claim.GRANTED
    assert other.claim(make_job("a")) is Claim.TAKEN
    leases.release("a")
    assert other.claim(make_job("a")) is Claim.GRANTED
    other.release("a")
    other.close()


def test_a_job_that_has_ended_is_not_held(leases: Leases, redis_client: Any) -> None:
    redis_client.set(JobKeys("a").ended, b"1")
    assert leases.claim(make_job("a")) is Claim.ENDED
    assert not redis_client.exists(JobKeys("a").lease)
    assert leases.num_held == 0


def test_a_lease_let_go_of_in_the_middle_of_a_renewal_stays_free(
    leases: Leases, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    letting_go = threading.Thread(target=leases.release, args=["a"])
    begun = threading.Event()

    def let_go(held: dict[str, Any]) -> None:  # after the look at what is held, before the writing
        if "a" in held and not begun.is_set():
            letting_go.start()
            letting_go.join(0.2)  # as far as it gets
            begun.set()

    monkeypatch.setattr(leases._readers, "keep_only", let_go)
    assert leases.claim(make_job("a")) is Claim.GRANTED
    assert leases.claim(make_job("b")) is Claim.GRANTED
    assert begun.wait(30)
    letting_go.join(30)
    leases._look()
    assert not redis_client.exists(JobKeys("a").lease)
    assert redis_client.exists(JobKeys("b").lease)
