"""Django admin: models are steered through the services, jobs are looked at without their contents."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from inference import wire
from inference.models import InferenceJob, JobAttempt, Model
from inference.presence import EngineReport, announce
from inference.protocol import Prompt, SamplingParams
from inference.states import ModelState
from monitoring.models import AuditLog
from tests.conftest import MODEL, Caller
from tests.inference.test_model_control import worker

MODELS = "/admin/inference/model/"
JOBS = "/admin/inference/inferencejob/"


@pytest.fixture(autouse=True)
def live_worker(redis_client: Any) -> None:
    announce(redis_client, worker(EngineReport(MODEL, ModelState.LOADING, progress=0.4)))


def signed_in(caller: Caller) -> Client:
    client = Client()
    client.force_login(caller.user, backend="accounts.backends.RoleBackend")
    return client


def act(caller: Caller, action: str, model: Model) -> Any:
    return signed_in(caller).post(
        MODELS, {"action": action, "_selected_action": [model.pk]}, follow=True
    )


def job(owner: Caller, model: Model, request_id: str = "req_1", **fields: Any) -> InferenceJob:
    row = InferenceJob.objects.create(
        owner=owner.user,
        model=model,
        request_id=request_id,
        prompt=wire.to_builtins(Prompt(text="a secret question")),
        params=wire.to_builtins(SamplingParams(stop=("secret stop",))),
        output="a secret answer",
        deadline_at=timezone.now() + timedelta(seconds=60),
        **fields,
    )
    assert isinstance(row, InferenceJob)
    return row


def test_the_list_shows_what_the_workers_say(operator: Caller, model: Any) -> None:
    page = signed_in(operator).get(MODELS).content.decode()
    assert "loading 40%" in page


@pytest.mark.parametrize(("action", "desired"), [("load", "ready"), ("unload", "unloaded")])
def test_models_are_loaded_and_unloaded(
    operator: Caller, model: Any, action: str, desired: str
) -> None:
    response = act(operator, action, model)
    assert "1 being" in response.content.decode()
    assert Model.objects.get().desired_state == desired
    assert AuditLog.objects.filter(action=f"model.{action}ed").get().actor_name == "the-operator"


def test_a_refusal_is_shown_and_nothing_is_written(operator: Caller, model: Any) -> None:
    response = act(operator, "disable", model)
    assert "is the default model" in response.content.decode()
    assert Model.objects.get().is_enabled


def test_loading_keeps_the_options_of_the_last_time(operator: Caller, model: Any) -> None:
    Model.objects.update(load_options={"optimization_level": 0})
    act(operator, "load", model)
    assert Model.objects.get().load_options == {"optimization_level": 0}
    assert Model.objects.get().generation == 0


def test_service_is_changed_and_files_are_not(operator: Caller, model: Any) -> None:
    address = f"{MODELS}{model.pk}/change/"
    body = {"is_enabled": "on", "is_pinned": "on", "keep_alive": "30", "path": "/etc", "slug": "x"}
    response = signed_in(operator).post(address, body)
    assert response.status_code == 302
    row = Model.objects.get()
    assert (row.is_pinned, row.keep_alive, row.slug, row.path) == (True, 30, MODEL, model.path)
    entry = AuditLog.objects.get(action="model.changed")
    assert (entry.before["pinned"], entry.after["pinned"]) == (False, True)


def test_a_refused_change_comes_back_with_its_reason(operator: Caller, model: Any) -> None:
    response = signed_in(operator).post(f"{MODELS}{model.pk}/change/", {"keep_alive": ""})
    assert "is the default model" in response.content.decode()
    assert Model.objects.get().is_enabled


def test_models_are_neither_added_nor_removed_here(admin: Caller, model: Any) -> None:
    client = signed_in(admin)
    assert client.get(f"{MODELS}add/").status_code == 403
    assert client.post(f"{MODELS}{model.pk}/delete/").status_code == 403


@pytest.mark.parametrize("role", ["member", "guest"])
def test_others_do_not_come_in(request: Any, model: Any, role: str) -> None:
    client = signed_in(request.getfixturevalue(role))
    for address in (MODELS, JOBS):
        assert client.get(address).status_code in (302, 403)
    client.post(MODELS, {"action": "load", "_selected_action": [model.pk]})
    assert Model.objects.get().desired_state == "automatic"


def test_a_job_shows_neither_question_nor_answer(admin: Caller, member: Caller, model: Any) -> None:
    row = job(member, model, error_code="INVALID_INPUT", error_message="not secret words")
    client = signed_in(admin)
    for address in (JOBS, f"{JOBS}{row.pk}/change/"):
        page = client.get(address).content.decode()
        assert str(row.pk) in page
        assert "secret" not in page


def test_a_job_that_began_again_shows_its_attempts(
    admin: Caller, member: Caller, model: Any
) -> None:
    row = job(member, model, attempt=2, answer={"choices": ["a secret"]})
    JobAttempt.objects.create(job=row, number=1, worker="first-worker")
    JobAttempt.objects.create(job=row, number=2, worker="second-worker", cause="engine_died")
    address = f"{JOBS}{row.pk}/change/"
    page = signed_in(admin).get(address).content.decode()
    for words in ("first-worker", "second-worker", "engine_died"):
        assert words in page
    assert "secret" not in page
    assert "attempts-0-number" not in page.replace("id_attempts", "")
    assert signed_in(admin).post(address, {"attempts-0-DELETE": "on"}).status_code == 403
    assert JobAttempt.objects.count() == 2


def test_jobs_are_found_by_id_request_and_owner(admin: Caller, member: Caller, model: Any) -> None:
    row, other = job(member, model), job(admin, model, "req_2")
    client = signed_in(admin)
    for words in (str(row.pk), "req_1", "the-user"):
        page = client.get(JOBS, {"q": words}).content.decode()
        assert f"{row.pk}" in page, words
        assert f"{other.pk}" not in page, words


def test_jobs_are_filtered_by_state_and_model(admin: Caller, model: Any) -> None:
    row = job(admin, model, state="failed")
    client = signed_in(admin)
    found = client.get(JOBS, {"state__exact": "failed", "model__id__exact": model.pk})
    assert str(row.pk) in found.content.decode()
    assert str(row.pk) not in client.get(JOBS, {"state__exact": "queued"}).content.decode()


def test_jobs_are_only_looked_at(admin: Caller, model: Any) -> None:
    row = job(admin, model)
    client = signed_in(admin)
    assert client.get(f"{JOBS}add/").status_code == 403
    assert client.post(f"{JOBS}{row.pk}/change/", {"state": "failed"}).status_code == 403
    assert client.post(f"{JOBS}{row.pk}/delete/").status_code == 403


def test_an_operator_sees_no_job_of_others(operator: Caller, member: Caller, model: Any) -> None:
    row = job(member, model)
    assert str(row.pk) not in signed_in(operator).get(JOBS).content.decode()
