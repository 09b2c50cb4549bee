"""Pages of models: everybody who may read them sees cards, who may write them can act."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from inference.models import InferenceJob
from inference.views.model_history import history_of
from tests.conftest import Caller
from tests.inference.api.conftest import MakeJob, make_job

__all__ = ["make_job"]


@pytest.fixture(autouse=True)
def counting(redis_client: Any) -> None:
    """Workers report to Redis: none does here."""


def read(caller: Caller, path: str) -> tuple[int, str]:
    browser = Client()
    browser.force_login(caller.user)
    response = browser.get(path)
    return response.status_code, response.content.decode()


def test_a_member_sees_the_cards_without_actions(member: Caller, model: Any) -> None:
    status, text = read(member, "/models")
    assert status == 200
    assert f'data-model="{model.slug}"' in text
    assert "data-action=" not in text
    assert "Add a model" not in text


def test_an_operator_may_act(operator: Caller, model: Any) -> None:
    _, text = read(operator, "/models")
    assert "Add a model" in text
    assert 'data-action="pin"' in text


def test_a_guest_looks_but_tries_nothing(guest: Caller, model: Any) -> None:
    status, text = read(guest, "/models")
    assert status == 200
    assert "/playground?model=" not in text


def test_the_script_asks_for_the_cards_alone(member: Caller, model: Any) -> None:
    _, text = read(member, "/models?part=cards")
    assert f'data-model="{model.slug}"' in text
    assert "<html" not in text


def test_without_models_the_page_says_what_to_do(operator: Caller) -> None:
    assert "No model is here yet" in read(operator, "/models")[1]


def test_one_models_page_shows_limits_to_who_may_change_them(
    member: Caller, operator: Caller, model: Any
) -> None:
    assert 'id="limits-form"' in read(operator, f"/models/{model.slug}")[1]
    status, text = read(member, f"/models/{model.slug}")
    assert status == 200
    assert 'id="limits-form"' not in text
    assert read(member, "/models/nobody")[0] == 404


def test_the_history_counts_by_day(member: Caller, model: Any, make_job: MakeJob) -> None:
    now = timezone.now()
    for days, state in ((0, "succeeded"), (0, "failed"), (2, "succeeded"), (40, "succeeded")):
        job = make_job(member, state=state)
        InferenceJob.objects.filter(pk=job.pk).update(
            finished_at=now - timedelta(days=days),
            completion_tokens=30,
            inference_time=2.0,
            ttft=0.5,
        )
    today, before = history_of(model)
    assert (today.num_jobs, today.num_failed, today.completion_tokens) == (2, 1, 60)
    assert (today.ttft, today.rate) == (0.5, 15.0)
    assert (before.num_jobs, before.num_failed) == (1, 0)
