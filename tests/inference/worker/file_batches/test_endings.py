"""Batches that end before their last line: cancelled, expired, without the right to go on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import ApiKey
from accounts.services.api_keys import revoke_api_key
from inference import file_store
from inference.models import FileBatch, InferenceJob
from inference.services.file_batches import cancel_batch
from tests.conftest import Caller
from tests.inference.worker.file_batches.conftest import (
    Create,
    counts,
    ids,
    line,
    results,
    running,
)


def test_a_cancelled_batch_keeps_what_it_has_and_tells_the_rest(
    lane: Any, create: Create, drive: Any, member: Caller
) -> None:
    lines = [line("done"), *(line(number, "hang") for number in range(20))]
    batch = create(lines)
    drive(batch, done=running(3, num_completed=1))
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
    drive(batch, done=running(3, num_completed=1))
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
