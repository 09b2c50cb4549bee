"""The page of the playground; what its script does is tested in a browser."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.conftest import Caller


def page_of(caller: Caller) -> Any:
    browser = Client()
    browser.force_login(caller.user)
    return browser.get("/playground")


def test_a_member_sees_the_models_and_parameters(member: Caller, model: Any) -> None:
    response = page_of(member)
    text = response.content.decode()
    assert response.status_code == 200
    assert (
        f"<option selected>{model.slug}</option>" in text
        or f"<option>{model.slug}</option>" in text
    )
    assert 'name="temperature"' in text
    assert 'data-keeps-history="true"' in text


def test_who_keeps_no_texts_is_told_so(member: Caller, model: Any) -> None:
    member.user.retention = "none"
    member.user.save()
    text = page_of(member).content.decode()
    assert 'data-keeps-history="false"' in text
    assert "Your retention policy keeps no texts" in text


def test_without_a_model_it_says_how_to_get_one(member: Caller) -> None:
    assert "manage.py pull" in page_of(member).content.decode()


@pytest.mark.django_db
def test_guests_are_refused_and_strangers_asked_to_sign_in(guest: Caller) -> None:
    assert page_of(guest).status_code == 403
    assert Client().get("/playground").headers["Location"] == "/login/?next=%2Fplayground"
