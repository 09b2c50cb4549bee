from __future__ import annotations

from django.test import Client

from tests.conftest import Caller


def test_a_stranger_is_shown_the_way_in(db: None) -> None:
    page = Client().get("/").content.decode()
    assert 'href="/login/"' in page
    assert "initial_admin_password" in page
    assert "key create --user admin" in page


def test_who_is_signed_in_is_led_to_the_keys(member: Caller) -> None:
    client = Client()
    client.force_login(member.user)
    page = client.get("/").content.decode()
    assert 'href="/keys"' in page
    assert "Your API keys" in page
    assert "initial_admin_password" not in page
