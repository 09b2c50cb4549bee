"""Batches of files, driven over a fake engine: every line once, in order, whatever happens meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.utils import timezone

from accounts.models import ApiKey, TokenReservation, UsageDay
from accounts.services.api_keys import revoke_api_key
from accounts.services.limits import set_limits
from inference import file_store
from inference.batch_bell import ring_batch
from inference.file_store import Draft, path_of
from inference.models import BatchLine, FileBatch, InferenceJob, StoredFile
from inference.openai_api import batch_driver, batch_feeding, batch_results, batch_tasks
from inference.openai_api.batch_driver import BatchDriver
from inference.presence import WorkerReport, announce
from inference.services.file_batches import BatchCall, cancel_batch, create_batch
from inference.services.files import store_file
from inference.worker.batch_lane import BatchLane
from inference.worker.batch_watch import BatchWatch
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


def test_every_line_is_answered_in_the_order_of_the_input(
    lane: Any, create: Create, drive: Any
) -> None:
    batch = drive(create([line(number) for number in range(30)]))
    assert (batch.state, counts(batch)) == ("completed", (30, 30, 0))
    assert ids(results(batch)) == [str(number) for number in range(30)]
    assert texts(batch) == [f"word{number} " for number in range(30)]
    assert batch.error_file_id is None
    first = results(batch)[0]
    assert first["error"] is None
    assert first["response"]["status_code"] == 200
    assert first["response"]["body"]["object"] == "text_completion"
    job = InferenceJob.objects.get(request_id=first["response"]["request_id"])
    assert (job.priority, job.state) == (-10, "succeeded")
    assert not BatchLine.objects.exists()
    assert not TokenReservation.objects.exists()
    assert set(batch.entered) == {"in_progress", "finalizing", "completed"}
    assert list((project_settings.LLAMA.files_dir / "batches").iterdir()) == []


def test_every_token_is_billed_once(lane: Any, create: Create, drive: Any) -> None:
    drive(create([line(number) for number in range(12)]))
    assert InferenceJob.objects.count() == 12
    assert sum(UsageDay.objects.values_list("requests", flat=True)) == 12


def test_what_is_wrong_with_one_line_stands_in_the_error_file(
    lane: Any, create: Create, drive: Any
) -> None:
    lines = [
        line("good"),
        line("strange", body_colour="red"),
        line("long", "word " * 20_000),
        line("nobody", body_model="no-such"),
        line("stream", body_stream=True),
        line("breaks", "fail"),
        line("last"),
    ]
    batch = drive(create(lines))
    assert (batch.state, counts(batch)) == ("completed", (7, 2, 5))
    assert ids(results(batch)) == ["good", "last"]
    errors = results(batch, "errors")
    assert ids(errors) == ["strange", "long", "nobody", "stream", "breaks"]
    assert [item["response"]["status_code"] for item in errors] == [400, 400, 404, 400, 500]
    said = [item["response"]["body"]["error"] for item in errors]
    assert [error["param"] for error in said[:1] + said[2:4]] == ["colour", "model", "stream"]
    assert said[1]["code"] == "context_length_exceeded"


def test_a_line_of_several_prompts_and_choices_has_one_answer(
    lane: Any, create: Create, drive: Any
) -> None:
    batch = drive(create([line("two", ["say a", "say b"]), line("one")]))
    first, _ = results(batch)
    choices = first["response"]["body"]["choices"]
    assert [(choice["index"], choice["text"]) for choice in choices] == [(0, "a "), (1, "b ")]
    assert InferenceJob.objects.count() == 3


@pytest.mark.parametrize(
    ("lines", "code", "number", "param"),
    [
        ([line(1), b"{no json"], "invalid_json_line", 2, None),
        ([line(1), b"[1]"], "invalid_json_line", 2, None),
        ([line(1), b"\xff"], "invalid_json_line", 2, None),
        ([b"[" * 100_000], "invalid_json_line", 1, None),
        ([line(1), b"", line(1)], "duplicate_custom_id", 3, "custom_id"),
        ([line("")], "invalid_custom_id", 1, "custom_id"),
        ([line("x" * 513)], "invalid_custom_id", 1, "custom_id"),
        ([line(1, method="GET")], "invalid_method", 1, "method"),
        ([line(1, url="/v1/chat/completions")], "invalid_url", 1, "url"),
        ([line(1, body=[])], "invalid_request", 1, "body"),
        ([line(1, color=1)], "invalid_request", 1, "color"),
        ([], "empty_file", None, None),
        ([b"", b"  "], "empty_file", None, None),
    ],
)
def test_an_input_that_is_none_fails_the_batch_and_runs_nothing(
    lane: Any,
    create: Create,
    drive: Any,
    lines: list[Any],
    code: str,
    number: int | None,
    param: str | None,
) -> None:
    batch = drive(create(lines))
    (error,) = batch.errors
    assert (error["code"], error["line"], error["param"]) == (code, number, param)
    assert batch.state == "failed"
    assert not InferenceJob.objects.exists()


def test_problems_and_lines_are_bounded(
    lane: Any, create: Create, drive: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(drive(create([b"x"] * 300)).errors) == 100
    monkeypatch.setattr("inference.openai_api.batch_input.MAX_LINES", 3)
    (error,) = drive(create([line(number) for number in range(5)])).errors
    assert error["code"] == "too_many_tasks"


def test_a_line_that_is_too_long_is_told(
    lane: Any, create: Create, drive: Any, settings: Any
) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 500
    batch = drive(create([line(1), line(2, "x" * 600), b"{", line(4)]))
    assert [(error["code"], error["line"]) for error in batch.errors] == [
        ("line_too_long", 2),
        ("invalid_json_line", 3),
    ]


def test_blank_lines_count_for_nothing(lane: Any, create: Create, drive: Any) -> None:
    batch = drive(create([b"", line(1), b" \t", line(2), b""]))
    assert (counts(batch), ids(results(batch))) == ((2, 2, 0), ["1", "2"])


# ------------------------------------------------------------------ interruptions


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


# ------------------------------------------------------------------ endings before the last line


def running(number: int) -> Callable[[], bool]:
    return lambda: InferenceJob.objects.filter(state="running").count() >= number


def test_a_cancelled_batch_keeps_what_it_has_and_tells_the_rest(
    lane: Any, create: Create, drive: Any, member: Caller
) -> None:
    lines = [line("done"), *(line(number, "hang") for number in range(20))]
    batch = create(lines)
    drive(batch, done=running(3))
    cancel_batch(actor=member.user, batch=batch)
    assert batch.state == "cancelling"
    cancel_batch(actor=member.user, batch=batch)
    batch = drive(batch)
    assert (batch.state, counts(batch)) == ("cancelled", (21, 1, 20))
    assert ids(results(batch)) == ["done"]
    errors = results(batch, "errors")
    assert ids(errors) == [str(number) for number in range(20)]
    assert {item["error"]["code"] for item in errors} == {"batch_cancelled"}
    assert {item["response"] for item in errors} == {None}
    assert not InferenceJob.objects.live().exists()
    assert InferenceJob.objects.count() < 20, "lines that were not begun never became jobs"


def test_a_batch_that_is_cancelled_before_its_check_has_no_files(
    create: Create, drive: Any, member: Caller
) -> None:
    batch = create([line(1)])
    cancel_batch(actor=member.user, batch=batch)
    batch = drive(batch)
    assert (batch.state, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)


def test_a_batch_whose_time_is_over_expires_with_what_it_has(
    lane: Any, create: Create, drive: Any
) -> None:
    batch = create([line("done"), *(line(number, "hang") for number in range(10))])
    drive(batch, done=running(3))
    FileBatch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    batch = drive(batch)
    assert (batch.state, ids(results(batch))) == ("expired", ["done"])
    assert {item["error"]["code"] for item in results(batch, "errors")} == {"batch_expired"}


@pytest.mark.parametrize("how", ["key", "account", "role", "deleted key"])
def test_a_batch_stops_when_its_owner_loses_the_right(
    lane: Any, create: Create, drive: Any, member: Caller, how: str
) -> None:
    batch = create([line(number, "hang") for number in range(10)])
    drive(batch, done=running(3))
    if how == "key":
        revoke_api_key(actor=None, key=ApiKey.objects.get(user=member.user))
    elif how == "account":
        type(member.user).objects.filter(pk=member.user.pk).update(is_active=False)
    elif how == "role":
        from accounts.models import Role

        guest = Role.objects.get(slug="guest")
        type(member.user).objects.filter(pk=member.user.pk).update(role=guest)
    else:
        ApiKey.objects.filter(user=member.user).delete()
    batch = drive(batch)
    assert batch.state == "failed"
    assert batch.errors[0]["code"] == "permission_denied"
    assert not InferenceJob.objects.live().exists()
    assert len(results(batch, "errors")) == 10


def test_a_batch_of_a_session_outlives_the_session(
    lane: Any, create: Create, drive: Any, member: Caller
) -> None:
    batch = create([line(1)], api_key=None)
    type(member.user).objects.filter(pk=member.user.pk).update(session_epoch=99)
    assert drive(batch).state == "completed"


def test_an_input_that_is_gone_fails_the_batch(create: Create, drive: Any) -> None:
    batch = create([line(1)])
    file_store.remove(batch.input_file_id)
    batch = drive(batch)
    assert (batch.state, batch.errors[0]["code"]) == ("failed", "file_not_found")


# ------------------------------------------------------------------ limits


def test_lines_wait_for_rates_and_jobs_at_once(lane: Any, create: Create, drive: Any) -> None:
    set_limits(actor=None, subject="user:the-user", concurrent_jobs=1)
    batch = drive(create([line(number) for number in range(4)]))
    assert counts(batch) == (4, 4, 0)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        ({"daily_tokens": 1}, "insufficient_quota"),
        ({"tokens_per_minute": 1}, "rate_limit_exceeded"),
        ({"concurrent_jobs": 0}, "rate_limit_exceeded"),
    ],
)
def test_a_line_that_waiting_would_not_help_is_told_so(
    lane: Any, create: Create, drive: Any, limits: dict[str, int], code: str
) -> None:
    set_limits(actor=None, subject="user:the-user", **limits)
    batch = drive(create([line(number) for number in range(3)]))
    errors = results(batch, "errors")
    assert ids(errors) == ["0", "1", "2"]
    assert {item["response"]["body"]["error"]["code"] for item in errors} == {code}
    assert {item["response"]["status_code"] for item in errors} == {429}
    assert not TokenReservation.objects.exists()
    assert not InferenceJob.objects.exists()


def test_few_lines_are_under_way_at_once(lane: Any, create: Create, drive: Any) -> None:
    batch = create([line(number, "hang") for number in range(40)])
    drive(batch, done=running(3))
    assert InferenceJob.objects.count() <= 6, "a worker without an engine takes four, and a reserve"
    FileBatch.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    drive(batch)
