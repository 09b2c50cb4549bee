"""Batches of files over a fake engine: made, driven in spells, and what stands in their results."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from django.conf import settings as project_settings

from accounts.models import ApiKey
from inference.file_store import Draft, path_of
from inference.models import FileBatch, InferenceJob, StoredFile
from inference.openai_api import batch_feeding
from inference.openai_api.batch_driver import BatchDriver
from inference.presence import WorkerReport, announce
from inference.services.file_batches import BatchCall, create_batch
from inference.services.files import store_file
from inference.worker.batch_lane import BatchLane
from inference.worker.generation import JobRunner
from tests.conftest import MODEL, Caller
from tests.inference.worker.conftest import wait_until

ENDPOINT = "/v1/completions"
Create = Callable[..., FileBatch]
Fields = dict[str, Any]


def line(number: int | str, prompt: Any = None, **fields: Any) -> Fields:
    body = {"model": MODEL, "prompt": f"say word{number}" if prompt is None else prompt}
    body["max_tokens"] = 5
    for name in [name for name in fields if name.startswith("body_")]:
        body[name.removeprefix("body_")] = fields.pop(name)
    return {
        "custom_id": str(number),
        "method": "POST",
        "url": ENDPOINT,
        "body": body,
        **fields,
    }


def text_of(lines: Sequence[Any]) -> bytes:
    return b"".join(
        (item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n" for item in lines
    )


@pytest.fixture(autouse=True)
def alive(redis_client: Any) -> None:
    announce(redis_client, WorkerReport("w", "one", 1, "here", 0.0, 0, 8))


@pytest.fixture
def lane(make_runner: Callable[..., JobRunner], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Takes what is rung for, as a worker would."""
    made = BatchLane(make_runner(), num_slots=5)
    monkeypatch.setattr(batch_feeding, "ring_many", made.take)
    yield made
    made.drain()


@pytest.fixture
def create(
    transactional_db: None, django_db_serialized_rollback: None, member: Caller, model: Any
) -> Iterator[Create]:
    def make(lines: Sequence[Any], *, endpoint: str = ENDPOINT, **fields: Any) -> FileBatch:
        draft = Draft(1 << 20)
        draft.write(text_of(lines))
        owner = {"owner": member.user}
        file = store_file(**owner, draft=draft, filename="in", purpose="batch", lifetime=None)
        key = ApiKey.objects.get(user=member.user)
        call = {"api_key": key, "metadata": None, "request_id": "r"} | fields
        return create_batch(BatchCall(**owner, input_file=file, endpoint=endpoint, **call))

    yield make
    root = project_settings.LLAMA.files_dir
    for path in list(root.rglob("*")) if root.is_dir() else []:
        if path.is_file():
            path.unlink()


@pytest.fixture
def drive(redis_client: Any) -> Callable[..., FileBatch]:
    """Drives to the end, or until `done` holds, in spells of drivers that know nothing of each other."""

    def run(batch: FileBatch, done: Callable[[], Any] | None = None) -> FileBatch:
        def spell() -> bool:
            driver = BatchDriver(redis_client, batch.pk, threading.Event())
            more = driver.drive(0.2)
            return bool(done()) if done else not more

        wait_until(spell, "the batch ends")
        batch.refresh_from_db()
        return batch

    return run


def results(batch: FileBatch, kind: str = "output") -> list[Fields]:
    file_id = batch.output_file_id if kind == "output" else batch.error_file_id
    if file_id is None:
        return []
    row = StoredFile.objects.get(pk=file_id)
    data = path_of(file_id).read_bytes()
    assert (row.num_bytes, row.purpose, row.owner) == (len(data), "batch_output", batch.owner)
    return [json.loads(item) for item in data.splitlines()]


def ids(items: Sequence[Fields]) -> list[str]:
    return [item["custom_id"] for item in items]


def texts(batch: FileBatch) -> list[str]:
    return [item["response"]["body"]["choices"][0]["text"] for item in results(batch)]


def counts(batch: FileBatch) -> tuple[int, int, int]:
    return batch.num_lines, batch.num_completed, batch.num_failed


def running(number: int, num_completed: int = 0) -> Callable[[], bool]:
    """Whether so many jobs run, and so many lines of the only batch have an answer."""

    def holds() -> bool:
        batch = FileBatch.objects.get()
        jobs = InferenceJob.objects.filter(state="running")
        return jobs.count() >= number and batch.num_completed >= num_completed

    return holds
