"""The page of one's own keys."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.test import Client

from accounts.models import ApiKey
from accounts.services.api_keys import create_api_key
from accounts.services.key_authentication import find_key
from tests.conftest import Caller

NEW = {"name": "from the page", "expires_in": "30"}


def browser(caller: Caller) -> Client:
    client = Client()
    client.force_login(caller.user)
    return client


def text_of(response: Any) -> str:
    return html.unescape(response.content.decode())


def key_on(response: Any) -> str:
    return re.findall(r"lg_\w{8}_\w{43}", text_of(response))[0]


def prefix_of(caller: Caller) -> str:
    return caller.key.split("_")[1]


@pytest.mark.django_db
def test_a_stranger_is_sent_to_sign_in() -> None:
    response = Client().get("/keys")
    assert response.status_code == 302
    assert "next=%2Fkeys" in response["Location"]


def test_the_page_shows_ones_own_keys_alone(member: Caller, admin: Caller) -> None:
    page = text_of(browser(admin).get("/keys"))
    assert prefix_of(admin) in page
    assert prefix_of(member) not in page


def test_a_new_key_is_shown_once_with_a_call_that_uses_it(member: Caller) -> None:
    client = browser(member)
    response = client.post("/keys", NEW)
    key = find_key(key_on(response))
    assert key is not None
    assert key.user == member.user
    assert key.expires_at is not None
    assert f'-H "Authorization: Bearer {key_on(response)}"' in text_of(response)
    assert "curl http://testserver/api/infer" in text_of(response)
    assert "no-store" in response["Cache-Control"]
    assert key_on(response) not in text_of(client.get("/keys"))


def test_the_call_is_one_that_the_key_may_make(member: Caller, guest: Caller) -> None:
    narrow = {**NEW, "allowed_models": "mine other"}
    assert '"model": "mine"' in text_of(browser(member).post("/keys", narrow))
    listing = {**NEW, "scopes": ["models:read"]}
    assert "curl http://testserver/api/me" in text_of(browser(member).post("/keys", listing))
    assert "curl http://testserver/api/me" in text_of(browser(guest).post("/keys", NEW))


def test_every_choice_reaches_the_key(member: Caller) -> None:
    fields = {
        **NEW,
        "expires_in": "",
        "scopes": ["infer", "batch"],
        "allowed_models": "a, b",
        "allowed_ips": "10.0.0.0/8\n127.0.0.1",
    }
    browser(member).post("/keys", fields)
    key = ApiKey.objects.get(name="from the page")
    assert key.expires_at is None
    assert key.scopes == ["batch", "infer"]
    assert key.allowed_models == ["a", "b"]
    assert key.allowed_ips == ["10.0.0.0/8", "127.0.0.1"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": ""}, "This field is required"),
        ({"name": "a\x00"}, "Null characters"),
        ({"scopes": ["admin"]}, "admin is not one of the available choices"),
        ({"scopes": ["x"]}, "x is not one of the available choices"),
        ({"expires_in": "1"}, "1 is not one of the available choices"),
        ({"allowed_ips": "here"}, "'here' is neither an address"),
        ({"allowed_models": "A"}, "'A' is no name of a model"),
    ],
)
def test_what_cannot_be_is_said_at_the_form(
    member: Caller, fields: dict[str, Any], said: str
) -> None:
    response = browser(member).post("/keys", {**NEW, **fields})
    assert said in text_of(response)
    assert ApiKey.objects.count() == 1


def test_a_role_is_offered_the_scopes_that_it_can_use(member: Caller, operator: Caller) -> None:
    assert 'value="audit"' not in text_of(browser(member).get("/keys"))
    assert 'value="audit"' in text_of(browser(operator).get("/keys"))


def test_rotation_shows_the_successor_once(member: Caller) -> None:
    response = browser(member).post(f"/keys/{prefix_of(member)}/rotate", {"grace_seconds": "86400"})
    new = find_key(key_on(response))
    assert new is not None
    assert new.replaces == find_key(member.key)
    assert "being replaced" in text_of(response)


@pytest.mark.parametrize("fields", [{}, {"grace_seconds": "5"}, {"grace_seconds": "x"}])
def test_rotation_without_a_known_grace_changes_nothing(
    member: Caller, fields: dict[str, str]
) -> None:
    response = browser(member).post(f"/keys/{prefix_of(member)}/rotate", fields, follow=True)
    assert "Say when the old key shall end" in text_of(response)
    assert ApiKey.objects.count() == 1


def test_a_second_rotation_is_refused_in_words(member: Caller) -> None:
    client, fields = browser(member), {"grace_seconds": "0"}
    client.post(f"/keys/{prefix_of(member)}/rotate", fields)
    again = client.post(f"/keys/{prefix_of(member)}/rotate", fields, follow=True)
    assert "This key is revoked" in text_of(again)


def test_revoking_ends_the_key_and_says_so(member: Caller) -> None:
    response = browser(member).post(f"/keys/{prefix_of(member)}/revoke", follow=True)
    assert "The key “test” is revoked." in text_of(response)
    assert find_key(member.key) is None


@pytest.mark.parametrize("deed", ["rotate", "revoke"])
def test_anothers_key_is_not_there_not_even_for_an_admin(
    member: Caller, admin: Caller, deed: str
) -> None:
    client = browser(admin)
    path = f"/keys/{prefix_of(member)}/{deed}"
    there = client.post(path, {"grace_seconds": "0"})
    missing = client.post(f"/keys/AAAAAAAA/{deed}", {"grace_seconds": "0"})
    assert there.status_code == missing.status_code == 404
    assert find_key(member.key) is not None
    assert client.get(path).status_code == 405


@pytest.mark.parametrize("path", ["/keys", "/keys/AAAAAAAA/revoke", "/keys/AAAAAAAA/rotate"])
def test_a_form_needs_its_token(member: Caller, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(member.user)
    assert client.post(path, NEW).status_code == 403
    assert ApiKey.objects.count() == 1


def test_a_name_is_shown_and_never_run(member: Caller) -> None:
    name = '<script>alert(1)</script>" onclick="x'
    create_api_key(actor=None, user=member.user, name=name)
    page = browser(member).get("/keys").content.decode()
    assert "<script>alert" not in page
    assert 'onclick="x' not in page


def test_a_key_opens_no_page(member: Caller) -> None:
    assert Client().get("/keys", headers=member.headers).status_code == 302
