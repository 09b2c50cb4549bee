from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from inference import wire
from inference.models import InferenceJob
from inference.protocol import GenerationJob, Load, Prompt, SamplingParams, StreamEvent
from inference.services.attempts import message_for
from inference.stream import JobKeys
from inference.worker.engine_pool import EnginePool, LoadOrder
from inference.worker.generation import JobRunner
from plugins_app.pipeline import PluginLink
from tests import fakes
from tests.conftest import Caller
from tests.plugins_app.links import Source


@pytest.fixture
def engines() -> Iterator[EnginePool]:
    pool = EnginePool(lambda slug: LoadOrder(Load(model_path=slug)), fakes.COMMAND)
    yield pool
    pool.close(1.0)


@pytest.fixture
def make_runner(
    redis_client: Any, engines: EnginePool, transactional_db: None
) -> Iterator[Callable[..., JobRunner]]:
    """The database is there until the last row is written."""
    made: list[JobRunner] = []

    def make(instance: str = "one", plugins: Sequence[PluginLink] = ()) -> JobRunner:
        runner = JobRunner(redis_client, "w", instance, engines, Source(*plugins))
        made.append(runner)
        return runner

    yield make
    for runner in made:
        runner.close(10)


@pytest.fixture
def make_job(
    transactional_db: None, django_db_serialized_rollback: None, member: Caller, model: Any
) -> Callable[..., GenerationJob]:
    """A job whose row exists, as the web would have made it."""
    from datetime import timedelta

    from django.utils import timezone

    def make(text: str, timeout: float = 60, **fields: Any) -> GenerationJob:
        row = InferenceJob.objects.create(
            owner=member.user,
            model=model,
            request_id="req_1",
            prompt=wire.to_builtins(Prompt(text=text)),
            params=wire.to_builtins(SamplingParams()),
            deadline_at=timezone.now() + timedelta(seconds=timeout),
            **fields,
        )
        return message_for(row)

    return make


def events_of(client: Any, job_id: str) -> list[tuple[str, StreamEvent]]:
    return [
        (entry_id.decode(), wire.decode_json(fields[b"e"]))
        for entry_id, fields in client.xrange(JobKeys(job_id).events)
    ]


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Poll until truthy; the limit only ends a test that has failed anyway."""
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)
    return found
