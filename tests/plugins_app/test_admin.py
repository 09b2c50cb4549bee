"""Plugins in Django admin: loaded, approved and set through the services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from monitoring.models import AuditLog
from plugins_app.models import Plugin
from plugins_app.services.configuration import configure_plugin
from tests.conftest import Caller

pytestmark = pytest.mark.usefixtures("redis_client")


def browser_of(caller: Caller) -> Client:
    browser = Client()
    browser.force_login(caller.user)
    return browser


def act(caller: Caller, action: str, row: Plugin) -> Any:
    form = {"action": action, "_selected_action": [row.pk]}
    address = reverse("admin:plugins_app_plugin_changelist")
    return browser_of(caller).post(address, form, follow=True)


def form_of(row: Plugin, **changes: Any) -> dict[str, Any]:
    return {
        "order": row.order,
        "policy": row.policy,
        "for_models": json.dumps(row.for_models),
        "budget": json.dumps(row.budget),
        "settings": json.dumps({}),
        **changes,
    }


def test_approved_loaded_reloaded_and_unloaded(operator: Caller, loud: Plugin) -> None:
    assert b"waits for approval" in act(operator, "load", loud).content
    for action, state in (
        ("approve", "validated"),
        ("load", "loaded"),
        ("reload", "loaded"),
        ("unload", "unloaded"),
    ):
        act(operator, action, loud)
        loud.refresh_from_db()
        assert loud.state == state, action
    entry = AuditLog.objects.filter(action="plugin.reloaded").get()
    assert entry.actor_name == "the-operator"


@pytest.mark.parametrize("role", ["member", "guest"])
def test_who_may_not_write_plugins_does_nothing_here(
    role: str, request: pytest.FixtureRequest, approved: Plugin
) -> None:
    caller = request.getfixturevalue(role)
    for action in ("load", "unload", "reload", "approve"):
        act(caller, action, approved)
    address = reverse("admin:plugins_app_plugin_change", args=[approved.pk])
    browser_of(caller).post(address, form_of(approved, order=5))
    assert str(approved.path) not in browser_of(caller).get(address).content.decode()
    row = Plugin.objects.get(pk=approved.pk)
    assert (row.generation, row.state, row.order) == (approved.generation, "validated", 100)


def test_the_form_sets_what_may_be_set(operator: Caller, approved: Plugin) -> None:
    configure_plugin(actor=None, plugin=approved, config={"token": "s3cr3t"})
    approved.refresh_from_db()
    address = reverse("admin:plugins_app_plugin_change", args=[approved.pk])
    browser = browser_of(operator)
    page = browser.get(address).content.decode()
    assert "s3cr3t" not in page
    assert approved.config["token"] not in page
    changes = {
        "order": 5,
        "for_roles": ["guest"],
        "settings": json.dumps({"suffix": "?", "token": None}),
    }
    answer = browser.post(address, form_of(approved, **changes))
    assert answer.status_code == 302, answer.content
    row = Plugin.objects.get(pk=approved.pk)
    assert (row.order, row.for_roles, row.config["suffix"]) == (5, ["guest"], "?")
    assert row.config["token"] == approved.config["token"]


def test_what_a_service_refuses_stands_on_the_form(operator: Caller, approved: Plugin) -> None:
    address = reverse("admin:plugins_app_plugin_change", args=[approved.pk])
    form = form_of(approved, settings=json.dumps({"suffix": 5}))
    answer = browser_of(operator).post(address, form)
    assert b"config.suffix" in answer.content
    approved.refresh_from_db()
    assert approved.config == {}


def test_the_history_shows_no_secret(operator: Caller, approved: Plugin) -> None:
    configure_plugin(actor=None, plugin=approved, config={"token": "s3cr3t", "suffix": "?"})
    entry = approved.settings_history.get()
    address = reverse("admin:plugins_app_pluginsettings_change", args=[entry.pk])
    page = browser_of(operator).get(address).content.decode()
    assert "suffix" in page
    assert entry.after["token"] not in page
