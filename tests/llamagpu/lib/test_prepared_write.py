"""What is written without Django's builder of SQL reads as if it had been written by it."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import TokenReservation
from inference.models import InferenceJob
from llamagpu.lib.prepared_query import adapted
from llamagpu.lib.prepared_write import insert_rows, update_rows
from tests.conftest import Caller


def job(owner: Any, model: Any, **columns: Any) -> InferenceJob:
    return InferenceJob(
        owner=owner,
        model=model,
        request_id="r",
        prompt={"text": "100% 'quoted' \U0001f600", "parts": [1, None, True]},
        params={},
        deadline_at=timezone.now() + timedelta(seconds=60),
        **columns,
    )


def columns_of(row: InferenceJob) -> dict[str, Any]:
    return {field.attname: getattr(row, field.attname) for field in row._meta.concrete_fields}


def test_a_new_row_has_all_its_columns(member: Caller, model: Any) -> None:
    made = [job(member.user, model, limits=[{"value": 1}]), job(member.user, model)]
    insert_rows(made)
    for row in made:
        assert columns_of(InferenceJob.objects.get(pk=row.pk)) == columns_of(row)
        row.request_id = "again"
        row.save()  # an update: it knows that it is written
    assert InferenceJob.objects.filter(request_id="again", limits__isnull=True).count() == 1
    insert_rows([])


def test_a_row_that_is_there_already_is_refused(member: Caller) -> None:
    row = TokenReservation(
        job_id=uuid.uuid4(), user=member.user, role_slug="user", model_slug="m", tokens=1
    )
    insert_rows([row])
    with pytest.raises(IntegrityError), transaction.atomic():
        insert_rows([row])
    assert TokenReservation.objects.count() == 1


def test_a_change_goes_where_the_condition_holds(member: Caller, model: Any) -> None:
    first, second = job(member.user, model), job(member.user, model, attempt=3)
    insert_rows([first, second])
    now = timezone.now()
    changes = {
        "answer": {"choices": ["%s"]},
        "plugins": None,
        "owner": member.user.pk,
        "finished_at": now,
        "output": "it's",
    }

    def change(row: InferenceJob) -> int:
        parameters = [adapted(row.pk), 2]
        return update_rows(InferenceJob, changes, "id = %s AND attempt <= %s", parameters)

    assert [change(first), change(second)] == [1, 0]
    changed = InferenceJob.objects.get(finished_at=now)
    assert (changed.pk, changed.answer, changed.output) == (
        first.pk,
        {"choices": ["%s"]},
        "it's",
    )
    assert InferenceJob.objects.filter(plugins__isnull=True).count() == 2
    assert InferenceJob.objects.get(pk=second.pk).output == ""
