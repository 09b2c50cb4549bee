"""Settings: checked, sealed where they are secret, kept for going back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llamagpu.http.errors import AppError
from monitoring.models import AuditLog
from plugins_app.models import Plugin, PluginSettings
from plugins_app.services import configuration
from plugins_app.services.configuration import configure_plugin, roll_back_settings
from plugins_app.services.lifecycle import enable_plugin
from plugins_app.wanted import wanted_specs
from tests.conftest import Caller


def given(row: Plugin) -> dict[str, Any]:
    """The settings as a worker gives them to the plugin."""
    (spec,) = wanted_specs()
    assert spec.slug == row.slug
    return dict(spec.config)


@pytest.fixture
def running(approved: Plugin) -> Plugin:
    return enable_plugin(actor=None, plugin=approved)


def test_settings_reach_the_plugin_with_defaults(running: Plugin) -> None:
    assert given(running) == {"suffix": "!"}
    row = configure_plugin(actor=None, plugin=running, config={"suffix": "?"})
    assert given(row) == {"suffix": "?"}
    assert row.generation > running.generation


def test_a_secret_is_sealed_and_shown_to_nobody(running: Plugin, operator: Caller) -> None:
    row = configure_plugin(actor=operator.user, plugin=running, config={"token": "s3cr3t"})
    assert given(row) == {"suffix": "!", "token": "s3cr3t"}
    kept = [row.config, *PluginSettings.objects.values_list("after", flat=True)]
    kept += AuditLog.objects.values_list("data", flat=True)
    assert "s3cr3t" not in json.dumps(kept)
    entry = AuditLog.objects.get(action="plugin.configured")
    assert entry.data["secrets_changed"] == ["token"]


@pytest.mark.parametrize("config", [{"suffix": "?"}, {"suffix": "?", "token": None}])
def test_a_secret_that_is_left_out_stays(running: Plugin, config: Any) -> None:
    row = configure_plugin(actor=None, plugin=running, config={"token": "s3cr3t"})
    sealed = row.config["token"]
    row = configure_plugin(actor=None, plugin=row, config=config)
    assert row.config["token"] == sealed
    assert given(row)["token"] == "s3cr3t"


def test_the_same_settings_again_are_no_change(running: Plugin) -> None:
    row = configure_plugin(actor=None, plugin=running, config={"token": "s3cr3t"})
    assert configure_plugin(actor=None, plugin=row, config={"token": "s3cr3t"}).generation == (
        row.generation
    )
    assert PluginSettings.objects.count() == 1


@pytest.mark.parametrize(
    "config", [{"suffix": 5}, {"suffix": "far too long"}, {"other": 1}, {"token": "abc"}, [], None]
)
def test_what_the_schema_refuses_changes_nothing(running: Plugin, config: Any) -> None:
    with pytest.raises(AppError) as refused:
        configure_plugin(actor=None, plugin=running, config=config)
    assert refused.value.code == "INVALID_INPUT"
    assert refused.value.details[0]["field"].startswith("config")
    assert "abc" not in refused.value.message
    assert given(running) == {"suffix": "!"}


def test_back_to_an_earlier_change_secrets_too(running: Plugin) -> None:
    row = configure_plugin(actor=None, plugin=running, config={"suffix": "1", "token": "first"})
    row = configure_plugin(actor=None, plugin=row, config={"suffix": "2", "token": "second"})
    row = roll_back_settings(actor=None, plugin=row, number=1)
    assert given(row) == {"suffix": "1", "token": "first"}
    assert [entry.number for entry in row.settings_history.all()] == [3, 2, 1]
    assert AuditLog.objects.get(action="plugin.rolled_back").data["number"] == 1


def test_there_is_no_way_back_to_what_never_was(running: Plugin) -> None:
    with pytest.raises(AppError) as refused:
        roll_back_settings(actor=None, plugin=running, number=9)
    assert refused.value.code == "NOT_FOUND"


def test_there_is_no_way_back_to_what_the_schema_does_not_take_any_more(running: Plugin) -> None:
    configure_plugin(actor=None, plugin=running, config={"suffix": "12345"})
    schema = running.settings_schema
    schema["properties"]["suffix"]["maxLength"] = 1
    Plugin.objects.update(settings_schema=schema, config={})
    with pytest.raises(AppError) as refused:
        roll_back_settings(actor=None, plugin=running, number=1)
    assert refused.value.code == "CONFLICT"


def test_the_history_does_not_grow_for_ever(
    running: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "MAX_HISTORY", 2)
    for number in range(4):
        configure_plugin(actor=None, plugin=running, config={"suffix": str(number)})
    assert [entry.number for entry in running.settings_history.all()] == [4, 3]


def test_a_secret_that_cannot_be_opened_can_be_given_anew(running: Plugin, settings: Any) -> None:
    configure_plugin(actor=None, plugin=running, config={"token": "s3cr3t"})
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-secret", []
    row = configure_plugin(actor=None, plugin=running, config={"token": "another"})
    assert given(row)["token"] == "another"
