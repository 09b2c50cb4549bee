"""A job that came to the wrong worker is passed on; a queue whose worker is gone is emptied."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from inference import presence
from inference.dispatch import QUEUE, queue_of, ring
from inference.presence import EngineReport, announce, withdraw
from inference.protocol import GenerationJob
from inference.states import ModelState
from inference.worker.engine_pool import EnginePool
from inference.worker.forwarding import Forwarder, rescue_messages
from tests.conftest import MODEL
from tests.inference.test_model_control import worker


@pytest.fixture(autouse=True)
def long_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not outlive a report."""
    monkeypatch.setattr(presence, "LIFETIME", 600)


@pytest.fixture
def forwarder(redis_client: Any, engines: EnginePool) -> Forwarder:
    announce(redis_client, worker(name="me"))
    return Forwarder(redis_client, "me", engines)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
class TestWhoRunsIt:
    def test_alone_it_runs_everything(self, forwarder: Forwarder, model: Any) -> None:
        assert forwarder.elsewhere(MODEL) is None

    def test_what_another_one_has_is_the_others(
        self, forwarder: Forwarder, model: Any, redis_client: Any
    ) -> None:
        announce(redis_client, worker(EngineReport(MODEL, ModelState.READY), name="other"))
        assert forwarder.elsewhere(MODEL) == queue_of("other")

    def test_what_it_has_itself_is_its_own(
        self, forwarder: Forwarder, model: Any, redis_client: Any, engines: EnginePool
    ) -> None:
        announce(redis_client, worker(EngineReport(MODEL, ModelState.READY), name="other"))
        engines.get(MODEL)
        assert forwarder.elsewhere(MODEL) is None

    def test_of_a_cold_model_just_one_worker_takes_the_jobs(
        self, forwarder: Forwarder, model: Any, redis_client: Any, engines: EnginePool
    ) -> None:
        announce(redis_client, worker(name="other"))
        other = Forwarder(redis_client, "other", engines)
        found = {forwarder.elsewhere(MODEL), other.elsewhere(MODEL)}
        assert found in ({None, queue_of("me")}, {None, queue_of("other")})

    def test_a_model_that_nobody_knows_fails_here(
        self, forwarder: Forwarder, redis_client: Any
    ) -> None:
        announce(redis_client, worker(name="other"))
        assert forwarder.elsewhere("nothing") is None

    def test_a_batch_is_passed_on_by_its_jobs(
        self,
        forwarder: Forwarder,
        make_job: Callable[..., GenerationJob],
        redis_client: Any,
    ) -> None:
        announce(redis_client, worker(EngineReport(MODEL, ModelState.READY), name="other"))
        assert forwarder.elsewhere_of([make_job("hi").job_id]) == queue_of("other")


def test_messages_of_a_worker_that_is_gone_are_taken_over(
    redis_client: Any, transactional_db: None, make_job: Callable[..., GenerationJob]
) -> None:
    for name in ("me", "other"):
        announce(redis_client, worker(name=name))
        rescue_messages(redis_client, name)
    for text in ("one", "two"):
        ring(make_job(text), queue_of("other"))
    assert rescue_messages(redis_client, "me") == 0, "it lives"
    withdraw(redis_client, "other")
    assert rescue_messages(redis_client, "me") == 2
    assert redis_client.llen(f"lg:{QUEUE}") == 2
    assert redis_client.llen(f"lg:{queue_of('other')}") == 0
    assert rescue_messages(redis_client, "me") == 0
