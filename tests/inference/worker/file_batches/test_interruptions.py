"""Whatever ends a driver, the next one goes on: no line is lost or answered twice."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from inference import file_store
from inference.batch_bell import ring_batch
from inference.models import FileBatch, InferenceJob, StoredFile
from inference.openai_api import batch_driver, batch_feeding, batch_results, batch_tasks
from inference.openai_api.batch_driver import BatchDriver
from inference.worker.batch_lane import BatchLane
from inference.worker.batch_watch import BatchWatch
from tests.inference.worker.conftest import wait_until
from tests.inference.worker.file_batches.conftest import (
    Create,
    counts,
    ids,
    line,
    results,
    texts,
)


class Killed(BaseException):
    """Stands for a SIGKILL: nothing after it runs but what the rows bring back."""


STEPS = [
    (batch_feeding, "take_up"),
    (batch_feeding, "ring_many"),
    (batch_results, "keep_results"),
    (batch_driver, "write_results"),
    (batch_driver, "complete_batch"),
    (file_store, "write_at"),
    (file_store, "publish_partial"),
]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_driver_that_is_killed_at_any_step_is_followed_by_one_that_goes_on(
    lane: Any,
    create: Create,
    drive: Any,
    redis_client: Any,
    monkeypatch: pytest.MonkeyPatch,
    module: Any,
    name: str,
    when: str,
) -> None:
    """Several calls of the step die, whether they had done their work or not."""
    real, calls = getattr(module, name), iter(range(10_000))

    def dying(*args: Any, **kwargs: Any) -> Any:
        dies = next(calls) in (0, 1, 3, 6)
        if dies and when == "before":
            raise Killed
        value = real(*args, **kwargs)
        if dies:
            raise Killed
        return value

    monkeypatch.setattr(module, name, dying)
    batch = create([line(number) for number in range(10)] + [line("bad", body_colour="red")])

    def spell() -> bool:
        try:
            BatchDriver(redis_client, batch.pk, threading.Event()).drive(0.3)
        except Killed:
            redis_client.delete(f"lg:filebatch:{batch.pk}:lease")
        ring_again(lane)
        batch.refresh_from_db()
        return batch.state == "completed"

    wait_until(spell, "the batch completes")
    assert counts(batch) == (11, 10, 1)
    assert ids(results(batch)) == [str(number) for number in range(10)]
    assert texts(batch) == [f"word{number} " for number in range(10)]
    assert ids(results(batch, "errors")) == ["bad"]
    assert InferenceJob.objects.count() == 10
    assert StoredFile.objects.count() == 3


def ring_again(lane: BatchLane) -> None:
    """What the reaper does for jobs whose message was lost."""
    queued = InferenceJob.objects.filter(state="queued").values_list("pk", flat=True)
    lane.take([str(job_id) for job_id in queued])


def test_only_one_drives_a_batch(create: Create, redis_client: Any) -> None:
    batch = create([line(1)])
    redis_client.set(f"lg:filebatch:{batch.pk}:lease", "another")
    assert BatchDriver(redis_client, batch.pk, threading.Event()).drive(5) is False
    batch.refresh_from_db()
    assert batch.state == "validating"
    assert redis_client.get(f"lg:filebatch:{batch.pk}:lease") == b"another"


def test_a_worker_that_shuts_down_leaves_the_batch_to_the_next(
    lane: Any, create: Create, drive: Any, redis_client: Any
) -> None:
    batch, stop = create([line(1)]), threading.Event()
    stop.set()
    assert BatchDriver(redis_client, batch.pk, stop).drive(60) is False
    assert redis_client.exists(f"lg:filebatch:{batch.pk}:lease") == 0
    assert drive(batch).state == "completed"


def test_the_watch_rings_once_for_what_nobody_drives(create: Create, redis_client: Any) -> None:
    batch, over = create([line(1)]), create([line(1)])
    FileBatch.objects.filter(pk=over.pk).update(state="completed")
    watch = BatchWatch(redis_client)
    assert (watch.look(), watch.look()) == (1, 0)
    (message,) = redis_client.lrange("lg:inference", 0, -1)
    assert json.loads(message)["headers"]["task"] == batch_tasks.TASK_NAME
    assert ring_batch(redis_client, batch.pk) is False


def test_a_batch_that_nobody_can_drive_comes_to_an_end(
    create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = create([line(1)])

    def broken(*args: Any) -> None:
        raise RuntimeError("never foreseen")

    monkeypatch.setattr(BatchDriver, "drive", broken)
    for _ in range(batch_tasks.MAX_FAILURES):
        batch.refresh_from_db()
        assert batch.state == "validating"
        batch_tasks.drive_file_batch(str(batch.pk))
    batch.refresh_from_db()
    assert (batch.state, batch.errors[0]["code"]) == ("failed", "internal_error")
