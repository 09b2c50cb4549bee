"""Pages of jobs: owners read their words, Admins everybody's figures, outsiders nothing."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from monitoring.models import AuditLog
from tests.conftest import Caller
from tests.inference.api.conftest import SECRET, MakeJob, make_job

__all__ = ["make_job"]


def browser_of(caller: Caller) -> Client:
    browser = Client()
    browser.force_login(caller.user)
    return browser


def read(caller: Caller, path: str) -> tuple[int, str]:
    response = browser_of(caller).get(path)
    return response.status_code, response.content.decode()


def test_the_list_holds_ones_own_and_for_admins_everybodys(
    member: Caller, operator: Caller, admin: Caller, make_job: MakeJob
) -> None:
    job = make_job(member, state="succeeded", retention="full")
    status, text = read(member, "/jobs")
    assert status == 200
    assert f"/jobs/{job.pk}" in text
    assert f"/jobs/{job.pk}" in read(admin, "/jobs")[1]
    assert f"/jobs/{job.pk}" not in read(operator, "/jobs")[1]
    for caller in (member, admin):
        assert SECRET not in read(caller, "/jobs")[1]


def test_filters_narrow_and_wrong_ones_are_named(member: Caller, make_job: MakeJob) -> None:
    done = make_job(member, state="succeeded")
    failed = make_job(member, state="failed")
    _, text = read(member, "/jobs?state=failed&model=&since=")
    assert f"/jobs/{failed.pk}" in text
    assert f"/jobs/{done.pk}" not in text
    for query in ("state=lost", "batch=7", "since=yesterday", "cursor=cD14", "limit=0"):
        status, text = read(member, f"/jobs?{query}")
        assert status == 400, query
        assert query.partition("=")[0] in text


def test_long_lists_come_in_pages(member: Caller, make_job: MakeJob) -> None:
    jobs = [make_job(member, state="succeeded") for _ in range(3)]
    response = browser_of(member).get("/jobs?limit=2")
    assert str(jobs[0].pk) not in response.content.decode()
    older = browser_of(member).get(response.context["next"]).content.decode()
    assert str(jobs[0].pk) in older
    assert str(jobs[2].pk) not in older


def test_the_owner_reads_words_and_timeline(member: Caller, make_job: MakeJob) -> None:
    job = make_job(member, state="succeeded", retention="full")
    status, text = read(member, f"/jobs/{job.pk}")
    assert status == 200
    assert SECRET in text
    assert "Admission" in text
    assert "Run again" in text


def test_it_names_the_plugins_that_changed_something(member: Caller, make_job: MakeJob) -> None:
    acted = {"before": ["system_prompt"], "after": ["<b>loud</b>"]}
    job = make_job(member, state="succeeded", plugins=acted)
    _, text = read(member, f"/jobs/{job.pk}")
    assert "<dt>Plugins</dt><dd>system_prompt, &lt;b&gt;loud&lt;/b&gt;</dd>" in text


def test_an_admin_reads_figures_but_no_words(
    member: Caller, admin: Caller, make_job: MakeJob
) -> None:
    job = make_job(member, state="succeeded", retention="full")
    status, text = read(admin, f"/jobs/{job.pk}")
    assert status == 200
    assert SECRET not in text
    assert "Run again" not in text


def test_for_outsiders_it_is_not_there(member: Caller, operator: Caller, make_job: MakeJob) -> None:
    job = make_job(member, state="running")
    assert read(operator, f"/jobs/{job.pk}")[0] == 404
    assert browser_of(operator).post(f"/jobs/{job.pk}/cancel").status_code == 404
    assert read(member, f"/jobs/{uuid.uuid4()}")[0] == 404


def test_an_admin_ends_somebody_elses_job_and_it_is_noted(
    member: Caller, admin: Caller, make_job: MakeJob
) -> None:
    job = make_job(member, state="queued")
    response = browser_of(admin).post(f"/jobs/{job.pk}/cancel")
    assert response.headers["Location"] == f"/jobs/{job.pk}"
    assert AuditLog.objects.filter(action="job.cancelled", target_id=str(job.pk)).count() == 1
    job.refresh_from_db()
    assert job.state == "cancelled"


@pytest.mark.django_db
def test_guests_see_no_jobs(guest: Caller, redis_client: Any) -> None:
    assert read(guest, "/jobs")[0] == 403
