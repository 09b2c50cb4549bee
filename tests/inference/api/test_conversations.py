"""/api/conversations: what somebody said in the playground, for nobody else."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from inference.models import Conversation
from inference.services import conversations
from tests.conftest import Caller

URL = "/api/conversations"
TURNS = [
    {"role": "user", "content": "My secret wish?"},
    {"role": "assistant", "content": "A llama.", "model": "tiny"},
]


@pytest.fixture(autouse=True)
def counting(redis_client: Any) -> None:
    """Rates are counted."""


def call(caller: Caller, method: str, path: str = URL, body: Any = None) -> tuple[int, Any]:
    response = Client().generic(
        method.upper(),
        path,
        data="" if body is None else json.dumps(body),
        content_type="application/json",
        headers=caller.headers,
    )
    return response.status_code, json.loads(response.content)


def begin(caller: Caller, **fields: Any) -> dict[str, Any]:
    status, body = call(caller, "post", body={"title": "Wishes", "messages": TURNS, **fields})
    assert status == 201, body
    conversation: dict[str, Any] = body["conversation"]
    return conversation


def test_its_owner_lists_reads_changes_and_deletes_it(member: Caller) -> None:
    made = begin(member, settings={"temperature": 0})
    status, listed = call(member, "get")
    assert status == 200
    (heading,) = listed["results"]
    assert (heading["title"], heading["num_messages"], heading["version"]) == ("Wishes", 2, 1)
    assert "messages" not in heading
    path = f"{URL}/{made['id']}"
    assert call(member, "get", path)[1]["conversation"]["messages"] == TURNS
    changed = {"title": "Dreams", "messages": TURNS[:1], "version": 1}
    status, body = call(member, "put", path, changed)
    assert (status, body["conversation"]["version"]) == (200, 2)
    assert body["conversation"]["settings"] == {}
    assert call(member, "delete", path) == (200, {"success": True, "removed": 1})
    assert call(member, "get", path)[0] == 404


def test_nobody_else_finds_it_not_even_an_admin(member: Caller, admin: Caller) -> None:
    path = f"{URL}/{begin(member)['id']}"
    for method, body in (("get", None), ("put", {"version": 1}), ("delete", None)):
        status, answer = call(admin, method, path, body)
        assert (status, answer["error"]["code"]) == (404, "NOT_FOUND")
    assert call(admin, "get")[1]["results"] == []
    assert call(admin, "delete") == (200, {"success": True, "removed": 0})
    assert Conversation.objects.count() == 1


def test_guests_have_none(guest: Caller) -> None:
    assert call(guest, "post", body={})[0] == 403


def test_an_older_version_overwrites_nothing(member: Caller) -> None:
    path = f"{URL}/{begin(member)['id']}"
    assert call(member, "put", path, {"title": "first", "version": 1})[0] == 200
    status, body = call(member, "put", path, {"title": "second", "version": 1})
    assert (status, body["error"]["code"]) == (409, "CONFLICT")
    assert Conversation.objects.get().title == "first"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"titel": "x"}, "titel"),
        ({"title": 5}, "title"),
        ({"title": "x" * 121}, "title"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "", "job_id": "no"}]}, "messages"),
        ({"messages": [{"role": "user", "content": ""}] * 513}, "messages"),
        ({"messages": [{"role": "user", "content": "x" * 1_000_001}]}, "messages"),
        ({"settings": []}, "settings"),
        ({"settings": {"warmth": 1}}, "settings"),
        ({"settings": {"temperature": 3}}, "settings"),
    ],
)
def test_what_is_wrong_is_named(member: Caller, body: Any, field: str) -> None:
    status, answer = call(member, "post", body=body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_INPUT")
    assert answer["error"]["details"][0]["field"].startswith(field)


@pytest.mark.parametrize("policy", ["none", "hash"])
def test_nothing_is_kept_where_the_policy_keeps_no_texts(member: Caller, policy: str) -> None:
    member.user.retention = policy
    member.user.save()
    status, answer = call(member, "post", body={"messages": TURNS})
    assert (status, answer["error"]["code"]) == (409, "CONFLICT")
    assert not Conversation.objects.exists()


def test_there_is_an_end_to_their_number(member: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MAX_CONVERSATIONS", 2)
    begin(member)
    begin(member)
    assert call(member, "post", body={})[0] == 409


def test_what_is_older_than_its_owners_policy_is_removed(member: Caller, admin: Caller) -> None:
    old = timezone.now() - timedelta(days=40)
    for caller, policy in ((member, "30d"), (admin, "full")):
        caller.user.retention = policy
        caller.user.save()
        begin(caller)
    Conversation.objects.update(updated_at=old)
    begin(member)
    assert conversations.remove_outlived() == 1
    assert conversations.remove_outlived() == 0
    assert Conversation.objects.count() == 2
