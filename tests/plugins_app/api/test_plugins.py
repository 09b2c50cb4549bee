"""Plugins over HTTP: who sees what, who may load, order and change, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from monitoring.models import AuditLog
from plugins_app.models import Plugin
from plugins_app.services.lifecycle import enable_plugin
from tests.conftest import Caller, make_caller
from tests.plugins_app.api.conftest import call


def test_everybody_who_may_read_sees_the_list(guest: Caller, loud: Plugin) -> None:
    answer = call(guest, "GET", "").json()
    assert answer["count"] == len(answer["plugins"]) >= 1
    (shown,) = [plugin for plugin in answer["plugins"] if plugin["id"] == "loud"]
    assert (shown["state"], shown["approved"], shown["enabled"]) == ("discovered", False, False)
    assert shown["sha256"] == loud.sha256
    assert shown["hooks"] == ["prompt"]
    assert shown["budget"]["call_timeout"] == 2.0


@pytest.mark.parametrize(
    ("query", "is_there"),
    [
        ("?tier=user", True),
        ("?tier=core", False),
        ("?category=pre_processor&state=discovered", True),
        ("?state=loaded", False),
    ],
)
def test_filters_narrow_the_list(guest: Caller, loud: Plugin, query: str, is_there: bool) -> None:
    slugs = [plugin["id"] for plugin in call(guest, "GET", query).json()["plugins"]]
    assert ("loud" in slugs) == is_there


@pytest.mark.parametrize("query", ["?tier=best", "?colour=red", "?state=loaded&state=active"])
def test_a_filter_that_there_is_not_is_refused(guest: Caller, query: str) -> None:
    answer = call(guest, "GET", query)
    assert answer.status_code == 400
    assert answer.json()["error"]["details"][0]["field"] in query


def test_settings_are_for_who_may_change_them(
    guest: Caller, operator: Caller, approved: Plugin
) -> None:
    call(operator, "PUT", "/loud/config", {"config": {"suffix": "?", "token": "s3cr3t"}})
    seen = call(guest, "GET", "/loud").json()["plugin"]
    assert (seen["config"], seen["path"]) == (None, None)
    seen = call(operator, "GET", "/loud").json()["plugin"]
    assert seen["config"] == {"suffix": "?", "token": None}
    assert seen["path"].endswith("loud.py")
    narrow = make_caller("admin", scopes=("plugins:read",))
    assert call(narrow, "GET", "/loud").json()["plugin"]["config"] is None
    for caller in (guest, operator, narrow):
        for path in ("", "/loud"):
            assert "s3cr3t" not in call(caller, "GET", path).content.decode()


def test_from_discovery_to_the_end(operator: Caller, loud: Plugin) -> None:
    refused = call(operator, "POST", "/loud/load")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    sha256 = refused.json()["error"]["details"]["sha256"]
    assert call(operator, "POST", "/loud/approve", {"sha256": "0" * 64}).status_code == 409
    approved = call(operator, "POST", "/loud/approve", {"sha256": sha256}).json()["plugin"]
    assert (approved["state"], approved["approved_by"]) == ("validated", "the-operator")
    loaded = call(operator, "POST", "/loud/load")
    assert (loaded.status_code, loaded.json()["plugin"]["state"]) == (202, "loaded")
    before = loaded.json()["plugin"]["generation"]
    again = call(operator, "POST", "/loud/reload").json()["plugin"]
    assert again["generation"] > before
    for method in ("POST", "DELETE"):
        gone = call(operator, method, "/loud/unload")
        assert (gone.status_code, gone.json()["plugin"]["state"]) == (200, "unloaded")
    assert call(operator, "POST", "/loud/reload").status_code == 409
    actions = set(AuditLog.objects.values_list("action", flat=True))
    assert actions >= {"plugin.approved", "plugin.enabled", "plugin.reloaded", "plugin.disabled"}


def test_a_plugin_is_changed(operator: Caller, approved: Plugin) -> None:
    body = {"enabled": True, "order": 5, "policy": "fail_closed", "roles": ["guest"]}
    answer = call(operator, "PATCH", "/loud", {**body, "budget": {"call_timeout": 1}})
    plugin = answer.json()["plugin"]
    assert {name: plugin[name] for name in body} == body
    assert plugin["budget"]["call_timeout"] == 1
    assert plugin["budget"]["max_processes"] == 16
    assert plugin["state"] == "loaded"


def test_the_order_is_set(operator: Caller, loud: Plugin) -> None:
    answer = call(operator, "PUT", "/order", {"plugins": ["loud"]})
    assert answer.json()["plugins"][0]["id"] == "loud"
    answer = call(operator, "PUT", "/order", {"plugins": ["missing"]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "PLUGIN_NOT_FOUND")


def test_a_scan_tells_what_it_found(operator: Caller, loud: Plugin, write_plugin: Any) -> None:
    write_plugin("other").write_text("def (")
    answer = call(operator, "POST", "/scan").json()
    assert answer["added"] == ["other"]
    assert "not Python" in answer["rejected"]["other"]


def test_settings_have_a_history_and_a_way_back(operator: Caller, approved: Plugin) -> None:
    for suffix in ("1", "2"):
        answer = call(operator, "PUT", "/loud/config", {"config": {"suffix": suffix}})
        assert answer.json()["plugin"]["config"]["suffix"] == suffix
    history = call(operator, "GET", "/loud/config/history").json()
    assert [change["number"] for change in history["changes"]] == [2, 1]
    assert history["changes"][0]["before"] == {"suffix": "1"}
    assert history["changes"][0]["actor"] == "the-operator"
    answer = call(operator, "POST", "/loud/config/rollback", {"number": 1})
    assert answer.json()["plugin"]["config"]["suffix"] == "1"
    assert call(operator, "POST", "/loud/config/rollback", {"number": 9}).status_code == 404


WRITES = [
    ("POST", "/scan", {}),
    ("PUT", "/order", {"plugins": []}),
    ("PATCH", "/loud", {"order": 1}),
    ("DELETE", "/loud", None),
    ("POST", "/loud/approve", {"sha256": "0" * 64}),
    ("POST", "/loud/load", None),
    ("POST", "/loud/reload", None),
    ("POST", "/loud/try", {"text": "hi"}),
    ("POST", "/loud/unload", None),
    ("DELETE", "/loud/unload", None),
    ("GET", "/loud/config", None),
    ("PUT", "/loud/config", {"config": {}}),
    ("GET", "/loud/config/history", None),
    ("POST", "/loud/config/rollback", {"number": 1}),
]


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_a_user_changes_nothing(
    member: Caller, loud: Plugin, method: str, path: str, body: Any
) -> None:
    before = Plugin.objects.values().get(slug="loud")
    assert call(member, method, path, body).status_code == 403
    narrow = make_caller("admin", scopes=("plugins:read",))
    assert call(narrow, method, path, body).status_code == 403
    assert Plugin.objects.values().get(slug="loud") == before


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PATCH", "/loud", {"order": "1"}, "order"),
        ("PATCH", "/loud", {"speed": 1}, "speed"),
        ("PATCH", "/loud", {"enabled": "yes"}, "enabled"),
        ("PATCH", "/loud", {"roles": ["nobody"]}, "roles"),
        ("PATCH", "/loud", {"models": [5]}, "models.0"),
        ("PATCH", "/loud", {"budget": {"call_timeout": 1000}}, "budget.call_timeout"),
        ("PATCH", "/loud", {"budget": {"speed": 1}}, "budget.speed"),
        ("PUT", "/loud/config", {"config": []}, "config"),
        ("PUT", "/loud/config", {"config": {"suffix": 1}}, "config.suffix"),
        ("PUT", "/loud/config", {}, "config"),
        ("POST", "/loud/approve", {"sha256": "abc"}, "sha256"),
        ("POST", "/loud/config/rollback", {"number": 0}, "number"),
        ("PUT", "/order", {"plugins": ["loud", "loud"]}, "plugins"),
    ],
)
def test_bad_input_is_refused_by_name(
    operator: Caller, loud: Plugin, method: str, path: str, body: Any, field: str
) -> None:
    answer = call(operator, method, path, body)
    assert answer.status_code == 400, answer.content
    named = answer.json()["error"]["details"][0]["field"]
    assert named.replace("[", ".").replace("]", "") == field


@pytest.mark.parametrize(("method", "path", "body"), WRITES[2:])
def test_what_is_not_there_is_not_found(admin: Caller, method: str, path: str, body: Any) -> None:
    answer = call(admin, method, path.replace("loud", "missing"), body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "PLUGIN_NOT_FOUND")


def test_the_alias_answers_the_same(guest: Caller, loud: Plugin) -> None:
    assert guest.get("/api/v1/plugins").json() == guest.get("/api/plugins").json()


def test_a_list_takes_a_few_queries_however_long(
    guest: Caller, loud: Plugin, write_plugin: Any, django_assert_max_num_queries: Any
) -> None:
    from plugins_app.services.scanning import scan_plugins

    for number in range(10):
        write_plugin(f"plugin{number}")
    scan_plugins()
    with django_assert_max_num_queries(12):
        assert call(guest, "GET", "").json()["count"] > 10


def test_one_that_runs_already_is_no_work(operator: Caller, approved: Plugin) -> None:
    row = enable_plugin(actor=None, plugin=approved)
    plugin = call(operator, "POST", "/loud/load").json()["plugin"]
    assert plugin["generation"] == row.generation
