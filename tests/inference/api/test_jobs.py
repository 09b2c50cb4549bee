"""/api/jobs: who sees which jobs and what of them, filters, pages, the end of a job."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import ApiKey
from inference.api.job_serializers import WholeJobSerializer
from inference.api.job_shapes import describe_content
from inference.models import Batch, BatchItem, InferenceJob
from inference.services.cancellation import CANCELLED
from inference.stream import JobKeys
from monitoring.models import AuditLog
from tests.conftest import Caller, make_caller
from tests.inference.api.conftest import SECRET, MakeJob


def read(caller: Caller, path: str) -> dict[str, Any]:
    response = caller.get(path)
    body: dict[str, Any] = json.loads(response.content)
    assert response.status_code == 200, body
    return body


def ids(caller: Caller, query: str = "") -> list[str]:
    return [job["job_id"] for job in read(caller, f"/api/jobs{query}")["results"]]


def delete(caller: Caller, job: InferenceJob) -> Any:
    return Client().delete(f"/api/jobs/{job.pk}", headers=caller.headers)


# ------------------------------------------------------------------ who sees what


def test_everybody_sees_own_jobs_and_admins_all(
    member: Caller, operator: Caller, admin: Caller, make_job: MakeJob
) -> None:
    mine, theirs = make_job(member), make_job(operator)
    assert ids(member) == [str(mine.pk)]
    assert ids(operator) == [str(theirs.pk)]
    assert set(ids(admin)) == {str(mine.pk), str(theirs.pk)}


def test_a_job_names_the_plugins_that_changed_something(member: Caller, make_job: MakeJob) -> None:
    acted = {"before": ["pii_redactor"], "after": ["stop_phrase", "pii_redactor"]}
    job = make_job(member, state="succeeded", plugins=acted)
    names = read(member, f"/api/jobs/{job.pk}")["job"]["plugins"]
    assert names == ["pii_redactor", "stop_phrase"]
    waiting = make_job(member, state="queued")
    assert read(member, f"/api/jobs/{waiting.pk}")["job"]["plugins"] == []


def test_a_guest_sees_none(guest: Caller, make_job: MakeJob) -> None:
    job = make_job(guest)
    for path in ("", f"/{job.pk}", f"/{job.pk}/timeline"):
        assert guest.get(f"/api/jobs{path}").status_code == 403
    assert guest.get("/api/requests/req_1").status_code == 403
    assert delete(guest, job).status_code == 403


def test_a_key_needs_its_scope_and_an_admins_narrow_key_sees_the_admins_own_jobs(
    member: Caller, make_job: MakeJob
) -> None:
    make_job(member)
    assert make_caller("operator", ("metrics",)).get("/api/jobs").status_code == 403
    narrow = make_caller("admin", ("infer",))
    own = make_job(narrow)
    assert ids(narrow) == [str(own.pk)]
    assert narrow.get("/api/jobs?user=the-user").status_code == 403


def without_moment(response: Any) -> dict[str, Any]:
    body = json.loads(response.content)
    return {name: value for name, value in body.items() if name not in ("request_id", "timestamp")}


def test_anothers_job_looks_exactly_like_one_that_is_not_there(
    member: Caller, operator: Caller, make_job: MakeJob
) -> None:
    job = make_job(member)
    missing, theirs = f"/api/jobs/{uuid.uuid4()}", f"/api/jobs/{job.pk}"
    for tail in ("", "/timeline"):
        answers = [operator.get(path + tail) for path in (missing, theirs)]
        assert [answer.status_code for answer in answers] == [404, 404]
        first, second = map(without_moment, answers)
        assert first == second
        assert first["error"]["code"] == "JOB_NOT_FOUND"
    answers = [Client().delete(path, headers=operator.headers) for path in (missing, theirs)]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert without_moment(answers[0]) == without_moment(answers[1])
    assert InferenceJob.objects.get().state == "queued"


def test_words_are_for_the_owner_alone(member: Caller, admin: Caller, make_job: MakeJob) -> None:
    job = make_job(member, state="succeeded", end_user="somebody")
    paths = [
        "/api/jobs",
        f"/api/jobs/{job.pk}",
        f"/api/jobs/{job.pk}/timeline",
        "/api/requests/req_1",
    ]
    for path in paths:
        seen = json.dumps(read(admin, path))
        assert str(job.pk) in seen
        assert SECRET not in seen
        assert "digest" not in seen
    whole = read(admin, f"/api/jobs/{job.pk}")["job"]
    assert whole["content"] is None
    assert whole["params"]["max_tokens"] == 7
    assert not {"stop", "grammar", "logit_bias"} & set(whole["params"])
    mine = read(member, f"/api/jobs/{job.pk}")["job"]
    assert mine["content"]["prompt"]["text"] == SECRET
    assert mine["content"]["output"] == SECRET
    assert mine["content"]["params"]["stop"] == [SECRET]
    assert mine["content"]["choices"] == [{"index": 0, "text": SECRET}]
    # Lists are for everybody's eyes over a shoulder.
    assert SECRET not in json.dumps(read(member, "/api/jobs"))


def test_an_error_that_may_repeat_words_is_spelt_out_for_the_owner_alone(
    member: Caller, admin: Caller, make_job: MakeJob
) -> None:
    """A regular expression that cannot be compiled comes back in the message about it."""
    job = make_job(
        member,
        state="failed",
        finished_at=timezone.now(),
        error_code="INVALID_INPUT",
        error_message=f"response_format: invalid regex {SECRET}",
    )
    paths = ("/api/jobs", f"/api/jobs/{job.pk}/timeline", f"/api/jobs/{job.pk}")
    assert [SECRET in json.dumps(read(admin, path)) for path in paths] == [False] * 3
    assert [SECRET in json.dumps(read(member, path)) for path in paths] == [False, False, True]
    assert SECRET in read(member, paths[2])["job"]["error"]["message"]
    seen = read(admin, paths[2])["job"]["error"]
    assert seen == {
        "code": "INVALID_INPUT",
        "message": "The input was refused; its owner reads why.",
    }


def test_of_what_was_removed_the_owner_is_told_and_gets_the_digests(
    member: Caller, make_job: MakeJob
) -> None:
    now = timezone.now()
    job = make_job(member, state="succeeded", retention="hash", content_removed_at=now)
    whole = read(member, f"/api/jobs/{job.pk}")["job"]
    assert whole["content"] == {
        "is_kept": False,
        "digests": {"prompt": "digest", "output": "digest"},
    }
    assert whole["retention"] == {
        "policy": "hash",
        "content_until": None,
        "content_removed_at": now.isoformat(),
    }


def test_every_column_of_a_job_is_shown_to_all_or_is_known_to_hold_words(
    member: Caller, admin: Caller, make_job: MakeJob
) -> None:
    """A new column with words in it must not slip into what Admins read."""
    for field in InferenceJob._meta.concrete_fields:
        InferenceJob.objects.all().delete()
        if field.name in ("prompt", "params", "answer", "content_digests"):
            job = make_job(member, **{field.name: {"text": "xyzzy", "stop": ["xyzzy"]}})
        elif field.name == "output":
            job = make_job(member, output="xyzzy")
        else:
            continue
        for path in (f"/api/jobs/{job.pk}", f"/api/jobs/{job.pk}/timeline", "/api/jobs"):
            if field.name != "params":
                assert "xyzzy" not in json.dumps(read(admin, path)), field.name


def test_the_description_names_the_very_fields(member: Caller, make_job: MakeJob) -> None:
    job = make_job(member, state="failed", error_code="NO_WORKER", error_message="gone")
    whole = read(member, f"/api/jobs/{job.pk}")["job"]
    assert set(whole) == set(WholeJobSerializer().fields)
    for name in ("usage", "timings", "retention", "error"):
        assert set(whole[name]) == set(WholeJobSerializer().fields[name].fields)
    described = set(WholeJobSerializer().fields["content"].fields)
    assert set(describe_content(job)) == described - {"digests"}


@pytest.mark.parametrize("name", ["%00", "a%00b", "x" * 5000, "%F0%9F%A6%99", "..", "%ff"])
def test_a_request_of_a_strange_name_is_not_there(
    member: Caller, make_job: MakeJob, name: str
) -> None:
    make_job(member)
    assert member.get(f"/api/requests/{name}").status_code == 404


def test_a_session_sees_the_same_as_a_key(member: Caller, make_job: MakeJob) -> None:
    make_job(member)
    browser = Client()
    browser.force_login(member.user, backend="accounts.backends.RoleBackend")
    assert json.loads(browser.get("/api/jobs").content)["results"]


# ------------------------------------------------------------------ filters and pages


def test_jobs_are_found_by_what_they_are(
    member: Caller, admin: Caller, make_job: MakeJob, model: Any
) -> None:
    now = timezone.now()
    key = ApiKey.objects.get(user=member.user)
    old = make_job(member, state="failed", created_at=now - timedelta(days=2), request_id="req_2")
    streamed = make_job(member, state="running", is_streamed=True, api_key=None)
    batch = Batch.objects.create(owner=member.user, model=model, request_id="b", deadline_at=now)
    item = make_job(admin)
    BatchItem.objects.create(batch=batch, position=0, custom_id="0", job=item)
    yesterday = (now - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    expected = {
        "?state=failed": {old},
        "?state=failed,running": {old, streamed},
        f"?model={model.slug}": {old, streamed, item},
        "?model=other": set(),
        "?request_id=req_2": {old},
        f"?since={yesterday}": {streamed, item},
        f"?until={yesterday}": {old},
        f"?until={(now - timedelta(days=1)):%Y-%m-%d}": {old},
        "?user=the-user": {old, streamed},
        "?user=nobody": set(),
        f"?key={key.prefix}": {old},
        "?is_streamed=true": {streamed},
        "?is_streamed=false&user=the-user": {old},
        f"?batch={batch.pk}": {item},
    }
    for query, jobs in expected.items():
        assert set(ids(admin, query)) == {str(job.pk) for job in jobs}, query
    (described,) = read(admin, f"/api/jobs?batch={batch.pk}")["results"]
    assert described["batch_id"] == str(batch.pk)


BAD_QUERIES = [
    ("?unheard=1", "unheard"),
    ("?state=done", "state"),
    ("?state=", "state"),
    ("?state=failed,failed", "state"),
    ("?state=failed&state=running", "state"),
    ("?since=tomorrow", "since"),
    ("?until=1", "until"),
    ("?batch=1", "batch"),
    ("?is_streamed=perhaps", "is_streamed"),
    ("?model=" + "x" * 129, "model"),
    ("?request_id=" + "x" * 65, "request_id"),
    ("?key=" + "x" * 9, "key"),
    ("?user=" + "x" * 151, "user"),
    ("?model=%00", "model"),
    ("?limit=0", "limit"),
    ("?limit=201", "limit"),
    ("?cursor=nonsense", "cursor"),
]


@pytest.mark.parametrize(("query", "field"), BAD_QUERIES)
def test_a_filter_that_is_wrong_is_refused_by_name(
    admin: Caller, redis_client: Any, query: str, field: str
) -> None:
    response = admin.get(f"/api/jobs{query}")
    assert response.status_code == 400
    assert json.loads(response.content)["error"]["details"][0]["field"] == field


def test_others_jobs_are_not_asked_for_by_name(
    member: Caller, operator: Caller, make_job: MakeJob
) -> None:
    job = make_job(member)
    assert ids(member, "?user=the-user") == [str(job.pk)]
    for name in ("the-user", "no-such-user"):
        response = operator.get(f"/api/jobs?user={name}")
        assert response.status_code == 403
        assert "Only Admins" in json.loads(response.content)["error"]["message"]


def test_a_filter_by_anothers_key_finds_nothing(
    member: Caller, operator: Caller, make_job: MakeJob
) -> None:
    make_job(member)
    assert ids(operator, f"?key={ApiKey.objects.get(user=member.user).prefix}") == []


def test_pages_hold_each_job_once_while_new_ones_come(member: Caller, make_job: MakeJob) -> None:
    now = timezone.now()
    jobs = [make_job(member, created_at=now - timedelta(seconds=n)) for n in range(7)]
    page = read(member, "/api/jobs?limit=3")
    found = [job["job_id"] for job in page["results"]]
    make_job(member, created_at=now + timedelta(seconds=1))
    while page["next"]:
        page = read(member, page["next"])
        found += [job["job_id"] for job in page["results"]]
    assert found == [str(job.pk) for job in jobs]


def test_a_page_takes_the_same_queries_however_many_jobs_it_has(
    member: Caller, make_job: MakeJob, django_assert_max_num_queries: Any
) -> None:
    for _ in range(20):
        make_job(member)
    with django_assert_max_num_queries(12):
        assert len(ids(member)) == 20
    with django_assert_max_num_queries(12):
        assert len(read(member, "/api/requests/req_1")["results"]) == 20


# ------------------------------------------------------------------ the end of a job


def test_its_owner_ends_a_waiting_job_at_once(
    member: Caller, make_job: MakeJob, redis_client: Any
) -> None:
    job = make_job(member)
    response = delete(member, job)
    assert response.status_code == 200
    ended = json.loads(response.content)["job"]
    assert (ended["state"], ended["error"]["code"]) == ("cancelled", "CANCELLED")
    assert ended["error"]["message"] == CANCELLED
    assert not AuditLog.objects.filter(action="job.cancelled").exists()


def test_a_running_job_is_marked_for_its_worker(
    member: Caller, make_job: MakeJob, redis_client: Any
) -> None:
    job = make_job(member, state="running", started_at=timezone.now())
    keys = JobKeys(str(job.pk))
    redis_client.set(keys.lease, b"w|1|1")
    response = delete(member, job)
    assert response.status_code == 200
    assert json.loads(response.content)["job"]["state"] == "running"
    assert redis_client.exists(keys.cancel)


def test_a_job_that_has_ended_stays_as_it_is(
    member: Caller, make_job: MakeJob, redis_client: Any
) -> None:
    now = timezone.now()
    job = make_job(member, state="succeeded", finished_at=now, finish_reason="stop")
    for _ in range(2):
        response = delete(member, job)
        assert response.status_code == 200
        assert json.loads(response.content)["job"]["state"] == "succeeded"
    job.refresh_from_db()
    assert (job.finished_at, job.error_code, job.output) == (now, "", SECRET)
    assert not redis_client.exists(JobKeys(str(job.pk)).cancel)


def test_an_admin_ends_others_jobs_and_that_is_kept(
    member: Caller, admin: Caller, make_job: MakeJob
) -> None:
    job = make_job(member)
    response = delete(admin, job)
    assert response.status_code == 200
    assert SECRET not in response.content.decode()
    job.refresh_from_db()
    assert job.state == "cancelled"
    assert "Admin" in job.error_message
    row = AuditLog.objects.get(action="job.cancelled")
    assert (row.actor_name, row.target_id, row.data["owner"]) == (
        "the-admin",
        str(job.pk),
        "the-user",
    )
    delete(admin, job)
    assert AuditLog.objects.filter(action="job.cancelled").count() == 1
