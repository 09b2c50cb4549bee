from __future__ import annotations

import re
from typing import Any

from django.test import Client
from django.urls import reverse

from accounts.models import ApiKey
from accounts.services.api_keys import create_api_key
from monitoring.models import AuditLog
from tests.accounts.admin.conftest import browser_of
from tests.conftest import Caller

ADD = "admin:accounts_apikey_add"
LIST = "admin:accounts_apikey_changelist"


def form(caller: Caller, **values: Any) -> dict[str, Any]:
    empty = {"allowed_models": "", "allowed_ips": "", "expires_at_0": "", "expires_at_1": ""}
    return empty | {"user": caller.user.pk, "name": "made here"} | values


def page(key: ApiKey) -> str:
    return reverse("admin:accounts_apikey_change", args=[key.pk])


def test_a_key_is_made_and_shown_once(boss: Client, member: Caller) -> None:
    body = form(member, scopes=["infer"], allowed_models="one\ntwo\n", allowed_ips="127.0.0.1")
    answer = boss.post(reverse(ADD), body)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]
    (text,) = re.findall(r"lg_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}", answer.content.decode())
    key = ApiKey.objects.get(name="made here")
    assert key.user == member.user
    assert (key.scopes, key.allowed_models) == (["infer"], ["one", "two"])
    assert Caller(member.user, text).get("/api/me").json()["key"]["name"] == "made here"
    secret = text.rsplit("_", 1)[1]
    for address in (page(key), reverse(LIST)):
        shown = boss.get(address).content.decode()
        assert key.prefix in shown
        assert secret not in shown
        assert key.digest not in shown


def test_a_setting_that_cannot_be_is_refused_on_the_page(boss: Client, member: Caller) -> None:
    for values in ({"allowed_ips": "nowhere"}, {"scopes": ["admin"]}):
        answer = boss.post(reverse(ADD), form(member, **values))
        assert answer.status_code == 200
        assert 'class="errornote"' in answer.content.decode()
    assert not ApiKey.objects.filter(name="made here").exists()


def test_a_key_is_changed_and_its_owner_is_not(boss: Client, member: Caller, guest: Caller) -> None:
    key, _ = create_api_key(actor=None, user=member.user, name="x")
    answer = boss.post(page(key), form(guest, name="renamed", scopes=["infer"]))
    assert answer.status_code == 302
    key.refresh_from_db()
    assert (key.name, key.scopes, key.user) == ("renamed", ["infer"], member.user)
    assert AuditLog.objects.get(action="api_key.changed").after == {
        "name": "renamed",
        "scopes": ["infer"],
    }


def test_chosen_keys_are_revoked_and_never_deleted(boss: Client, member: Caller) -> None:
    key, _ = create_api_key(actor=None, user=member.user, name="x")
    chosen = {"action": "revoke", "_selected_action": [key.pk]}
    answer = boss.post(reverse(LIST), chosen, follow=True)
    assert "1 keys revoked." in answer.content.decode()
    key.refresh_from_db()
    assert key.revoked_at is not None
    delete = reverse("admin:accounts_apikey_delete", args=[key.pk])
    assert boss.post(delete, {"post": "yes"}).status_code == 403
    assert boss.get(page(key)).status_code == 200
    assert boss.get(reverse(LIST), {"state": "revoked", "q": "x"}).status_code == 200


def test_an_operator_sees_own_keys_alone_and_makes_none(operator: Caller, member: Caller) -> None:
    browser = browser_of(operator)
    key = ApiKey.objects.get(user=member.user)
    assert key.prefix not in browser.get(reverse(LIST)).content.decode()
    assert browser.get(page(key)).status_code == 302, "as for a missing one"
    assert browser.post(reverse(ADD), form(member)).status_code == 403
