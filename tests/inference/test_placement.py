"""Everybody works out the same places for a model, and a job goes to the least busy of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from inference import routing
from inference.admission import admit, queue_length
from inference.dispatch import QUEUE, queue_of
from inference.models import Model
from inference.placement import Placed, chosen_workers
from inference.presence import EngineReport, WorkerReport, announce
from inference.routing import Router
from inference.states import ModelState
from tests.conftest import MODEL
from tests.inference.test_model_control import GIB, worker

READY, LOADING, FAILED = ModelState.READY, ModelState.LOADING, ModelState.FAILED


def having(name: str, state: ModelState | None = None, **fields: Any) -> WorkerReport:
    engines = [] if state is None else [EngineReport("m", state, num_slots=4, **fields)]
    return worker(*engines, name=name)


def cold(**fields: Any) -> Model:
    return Model(slug="m", num_parameters=1000, **fields)


def names(found: list[WorkerReport]) -> list[str]:
    return [worker.name for worker in found]


def test_without_a_number_every_worker_holds_it() -> None:
    workers = [having("a"), having("b"), having("c")]
    assert sorted(chosen_workers(Placed("m"), workers)) == ["a", "b", "c"]


def test_the_choice_does_not_depend_on_the_order_of_reports() -> None:
    workers = [having(name) for name in "abcdef"]
    chosen = chosen_workers(Placed("m", 2), workers)
    assert chosen == chosen_workers(Placed("m", 2), workers[::-1])
    assert len(chosen) == 2


def test_models_are_spread() -> None:
    workers = [having(name) for name in "abcd"]
    chosen = Counter(chosen_workers(Placed(f"m{n}", 1), workers)[0] for n in range(200))
    assert min(chosen.values()) > 20


def test_who_has_it_keeps_it_and_ready_goes_before_loading() -> None:
    for holder in "abc":
        others = [having(name) for name in "abc" if name != holder]
        assert chosen_workers(Placed("m", 1), [*others, having(holder, READY)]) == (holder,)
    assert chosen_workers(Placed("m", 1), [having("a", LOADING), having("b", READY)]) == ("b",)


def test_who_has_too_little_memory_or_has_failed_comes_last() -> None:
    small, large = worker(name="a", memory_limit=GIB), worker(name="b", memory_limit=4 * GIB)
    assert chosen_workers(Placed("m", 1, needed=2 * GIB), [small, large]) == ("b",)
    assert chosen_workers(Placed("m", 1), [having("a", FAILED), having("b")]) == ("b",)


def test_one_worker_needs_no_queue_of_its_own() -> None:
    router = Router()
    assert router.queue_for(cold()) == QUEUE
    router.note([having("a", READY)])
    assert router.queue_for(cold()) == QUEUE


def test_a_job_goes_where_the_model_is() -> None:
    router = Router()
    router.note([having("a"), having("b", READY), having("c", LOADING)])
    assert router.queue_for(cold()) == queue_of("b")


def test_a_job_goes_to_the_least_busy() -> None:
    router = Router()
    router.note([having("a", READY, num_running=3), having("b", READY, num_running=1)])
    assert router.queue_for(cold()) == queue_of("b")


def test_what_was_sent_since_the_report_counts() -> None:
    router = Router()
    router.note([having("a", READY), having("b", READY, num_running=2)])
    sent = Counter(router.queue_for(cold()) for _ in range(10))
    assert sent == {queue_of("a"): 6, queue_of("b"): 4}


def test_a_cold_model_is_loaded_by_one_worker_alone() -> None:
    router = Router()
    router.note([having(name) for name in "abcd"])
    assert len({router.queue_for(cold()) for _ in range(20)}) == 1
    router = Router()
    router.note([having(name) for name in "abcd"])
    spread = {router.queue_for(cold(replicas=2)) for _ in range(20)}
    assert len(spread) == 2


def test_who_shall_not_hold_it_any_more_gets_nothing_once_another_has_it() -> None:
    workers = [having(name, READY) for name in "abc"]
    (kept,) = chosen_workers(Placed("m", 1), workers)
    router = Router()
    router.note(workers)
    assert {router.queue_for(cold(replicas=1)) for _ in range(9)} == {queue_of(kept)}


def test_old_reports_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    router = Router()
    router.note([having("a"), having("b", READY)])
    monkeypatch.setattr(routing, "LIFETIME", -1.0)
    assert router.queue_for(cold()) == QUEUE


def test_all_queues_count_for_admission(redis_client: Any, db: None) -> None:
    for name in "ab":
        announce(redis_client, worker(name=name))
        redis_client.lpush(f"lg:{queue_of(name)}", "1")
    redis_client.lpush("lg:inference", "1")
    assert queue_length() == 3
    assert names(admit()) == ["a", "b"]


def test_a_call_rings_for_the_worker_that_has_its_model(
    model: Any, member: Any, redis_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.http import JsonResponse

    from inference.api import responses

    async def collect(*_: Any) -> JsonResponse:
        return JsonResponse({})

    monkeypatch.setattr(responses, "collect", collect)
    announce(redis_client, worker(name="a"))
    announce(redis_client, worker(EngineReport(MODEL, READY, num_slots=4), name="b"))
    assert member.post("/api/infer", {"text": "hi"}).status_code == 200
    assert redis_client.llen(f"lg:{queue_of('b')}") == 1
    assert redis_client.llen("lg:inference") == 0
