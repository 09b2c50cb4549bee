"""Which ends of workers are deaths, and where they are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inference.liveness import worker_parts
from inference.presence import WorkerReport, announce, forget, withdraw
from inference.status import probe_worker
from inference.worker_deaths import TOLD_FOR, look
from monitoring.live_events import FIELD, MODEL_EVENTS, key_of

pytestmark = pytest.mark.usefixtures("redis_client")


def worker(instance: str, name: str = "w") -> WorkerReport:
    return WorkerReport(name, instance, 1, "here", 0.0, 0, 8)


def silence(client: Any) -> None:
    client.delete("lg:worker:w")  # as when its report has run out


def events(client: Any) -> list[tuple[str, bool]]:
    told = [json.loads(fields[FIELD.encode()]) for _, fields in client.xrange(key_of(MODEL_EVENTS))]
    return [
        (event["event_type"], event["data"].get("is_back", event["data"].get("after_death")))
        for event in told
    ]


def test_a_new_instance_of_a_name_that_was_never_gone_is_a_death(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    assert look() == {"w": 0}
    announce(redis_client, worker("b"))
    assert look() == look() == {"w": 1}
    assert events(redis_client) == [
        ("worker_started", False),
        ("worker_died", True),
        ("worker_started", True),
    ]


def test_silence_and_the_return_from_it_are_one_death(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    look()
    silence(redis_client)
    assert look() == look() == {"w": 1}
    announce(redis_client, worker("b"))
    assert look() == {"w": 1}
    assert events(redis_client)[1:] == [("worker_died", False), ("worker_started", True)]
    announce(redis_client, worker("c"))
    assert look() == {"w": 2}


def test_one_that_was_only_silent_for_a_while_is_counted_once(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    look()
    for _ in range(3):
        silence(redis_client)
        look()
        announce(redis_client, worker("a"))
        assert look() == {"w": 1}


def test_a_worker_that_has_taken_its_leave_did_not_die(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    look()
    withdraw(redis_client, "w")
    assert look() == {}
    announce(redis_client, worker("b"))
    assert look() == {"w": 0}


def test_leaving_and_coming_between_two_looks_is_no_death(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    look()
    withdraw(redis_client, "w")
    announce(redis_client, worker("b"))
    assert look() == {"w": 0}


def test_one_that_is_silent_when_it_is_first_seen_is_no_death(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    silence(redis_client)
    assert look() == {"w": 0}


def test_who_is_forgotten_is_not_counted_any_more(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    look()
    silence(redis_client)
    look()
    forget(redis_client, "w")
    assert look() == {}


def test_readiness_and_status_tell_of_a_death_for_a_while(redis_client: Any) -> None:
    announce(redis_client, worker("a"))
    look()
    assert probe_worker() == "1 running"
    announce(redis_client, worker("b"))
    look()
    assert probe_worker() == "1 running; 1 died within the last 5 minutes and came back"
    (part,) = worker_parts()
    assert part.healthy
    assert "the one before it died at" in part.detail
    assert 0 < redis_client.ttl("lg:worker:died:w") <= TOLD_FOR
    redis_client.delete("lg:worker:died:w")
    assert probe_worker() == "1 running"
