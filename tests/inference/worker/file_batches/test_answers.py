"""Every line of a batch once, in order; what is wrong is told; limits hold."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as project_settings
from django.utils import timezone

from accounts.models import TokenReservation, UsageDay
from accounts.services.limits import set_limits
from inference.models import BatchLine, FileBatch, InferenceJob
from tests.inference.worker.file_batches.conftest import (
    Create,
    counts,
    ids,
    line,
    results,
    running,
    texts,
)


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
