"""The pages show what the caller may call, and nothing else."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.conftest import Caller


def session_of(caller: Caller) -> Client:
    client = Client()
    client.force_login(caller.user)
    return client


def test_an_admin_sees_every_group(admin: Caller) -> None:
    page = session_of(admin).get("/api/docs/").content.decode()
    for name in ("inference", "audit", "users", "OpenAI"):
        assert f">{name}</a></h2>" in page


def test_what_a_role_may_not_call_is_not_shown(guest: Caller) -> None:
    client = session_of(guest)
    page = client.get("/api/docs/").content.decode()
    assert "/api/models/{slug}" in page
    assert "/api/audit" not in page
    assert client.get("/api/docs/audit/").status_code == 404


@pytest.mark.django_db
def test_a_stranger_sees_what_is_open_to_everybody() -> None:
    answer = Client().get("/api/docs/")
    assert answer.status_code == 200
    assert "Sign in to see what your role may call" in answer.content.decode()
    assert "/api/infer" not in answer.content.decode()


def test_words_narrow_the_list_and_may_find_nothing(member: Caller) -> None:
    client = session_of(member)
    page = client.get("/api/docs/", {"q": "stream_infer"}).content.decode()
    assert "/api/stream_infer" in page
    assert "/api/jobs/{job_id}" not in page
    assert "No call has these words" in client.get("/api/docs/", {"q": "xyzzy"}).content.decode()


def test_markup_in_the_words_stays_text(member: Caller) -> None:
    page = session_of(member).get("/api/docs/", {"q": '"><img src=x>'}).content.decode()
    assert "<img src=x>" not in page


def test_a_group_tells_fields_rights_and_a_call_to_copy(member: Caller) -> None:
    page = session_of(member).get("/api/docs/inference/").content.decode()
    for part in (
        'id="stream_infer"',
        "<code>messages[].role</code>",
        "<code>inference: write</code>",
        "curl -X POST http://testserver/api/infer",
        'data-path="/api/infer"',
    ):
        assert part in page


def test_an_unknown_group_is_not_found(member: Caller) -> None:
    assert session_of(member).get("/api/docs/nothing/").status_code == 404


def test_the_alias_shows_the_same(member: Caller) -> None:
    assert session_of(member).get("/api/v1/docs/").status_code == 200


def test_the_page_is_in_the_language_of_its_reader(member: Caller) -> None:
    client = session_of(member)
    client.post("/language", {"language": "de"})
    assert "Aufrufe finden" in client.get("/api/docs/").content.decode()
    assert "Ausprobieren" in client.get("/api/docs/inference/").content.decode()


def test_an_unknown_group_answers_with_a_page(member: Caller) -> None:
    answer = session_of(member).get("/api/docs/nothing/", headers={"Accept": "text/html"})
    assert answer["Content-Type"].startswith("text/html")


def test_a_key_opens_no_page(admin: Caller) -> None:
    answer = admin.get("/api/docs/")
    assert answer.status_code == 200
    assert "Sign in to see" in answer.content.decode()
