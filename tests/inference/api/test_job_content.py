"""POST /api/jobs/{id}/content: an Admin may read others' words only where it is allowed and noted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from django.utils import timezone

from monitoring.models import AuditLog
from tests.conftest import Caller
from tests.inference.api.conftest import SECRET, MakeJob

REASON = {"reason": "complaint 4711 of the owner"}


@pytest.fixture
def allowed(settings: Any) -> None:
    settings.LLAMA = replace(settings.LLAMA, audited_job_reads=True)


def ask(caller: Caller, job: Any, body: Any = REASON) -> tuple[int, dict[str, Any]]:
    response = caller.post(f"/api/jobs/{job.pk}/content", json.dumps(body))
    return response.status_code, json.loads(response.content)


def deeds() -> list[tuple[str, str]]:
    rows = AuditLog.objects.filter(action="job.content_read").order_by("id")
    return [(row.outcome, row.data["reason"]) for row in rows]


def test_it_is_refused_unless_somebody_has_turned_it_on(
    member: Caller, admin: Caller, make_job: MakeJob
) -> None:
    job = make_job(member, state="succeeded", retention="full")
    status, body = ask(admin, job)
    assert (status, body["error"]["code"]) == (403, "PERMISSION_DENIED")
    assert SECRET not in json.dumps(body)
    assert deeds() == [("refused", REASON["reason"])]


def test_an_allowed_read_is_in_the_audit_log_with_its_reason(
    member: Caller, admin: Caller, make_job: MakeJob, allowed: None
) -> None:
    job = make_job(member, state="succeeded", retention="full")
    status, body = ask(admin, job)
    assert status == 200
    assert (body["content"]["prompt"]["text"], body["content"]["output"]) == (SECRET, SECRET)
    row = AuditLog.objects.get(action="job.content_read")
    assert (row.actor_name, row.target_id, row.data["owner"], row.outcome) == (
        "the-admin",
        str(job.pk),
        "the-user",
        "done",
    )
    assert SECRET not in json.dumps(row.data)
    # It opens nothing for the next time.
    assert SECRET not in admin.get(f"/api/jobs/{job.pk}").content.decode()


@pytest.mark.parametrize("policy", ["none", "hash"])
def test_what_its_owner_does_not_want_kept_is_read_by_nobody_else(
    member: Caller, admin: Caller, make_job: MakeJob, allowed: None, policy: str
) -> None:
    """The texts are still there for a quarter of an hour, for the owner alone."""
    ended = make_job(member, state="succeeded", retention=policy)
    member.user.retention = policy
    member.user.save()
    running = make_job(member, state="running")
    for job in (ended, running):
        status, body = ask(admin, job)
        assert status == 403
        assert SECRET not in json.dumps(body)
    assert [outcome for outcome, _ in deeds()] == ["refused", "refused"]


def test_what_was_removed_stays_removed(
    member: Caller, admin: Caller, make_job: MakeJob, allowed: None
) -> None:
    job = make_job(member, state="succeeded", retention="7d", content_removed_at=timezone.now())
    status, body = ask(admin, job)
    assert status == 200
    assert body["content"]["is_kept"] is False
    assert SECRET not in json.dumps(body)
    assert deeds() == [("done", REASON["reason"])]


@pytest.mark.parametrize("role", ["member", "operator", "guest"])
def test_others_may_not_even_ask(
    role: str, admin: Caller, make_job: MakeJob, allowed: None, request: pytest.FixtureRequest
) -> None:
    job = make_job(admin, state="succeeded", retention="full")
    assert ask(request.getfixturevalue(role), job)[0] == 403
    assert deeds() == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "too short"},
        {"reason": " " * 20},
        {"reason": "x" * 501},
        {"reason": 5},
        {"reason": None},
        {"reason": ["because I may"]},
        REASON | {"unheard": 1},
    ],
)
def test_a_reason_must_be_given(
    member: Caller, admin: Caller, make_job: MakeJob, allowed: None, body: Any
) -> None:
    job = make_job(member, state="succeeded", retention="full")
    status, answer = ask(admin, job, body)
    assert status == 400
    assert answer["error"]["details"][0]["field"] == ("unheard" if "unheard" in body else "reason")
    assert deeds() == []
