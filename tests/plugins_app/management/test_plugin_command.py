"""manage.py plugin: the verbs, for people and for programs."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from plugins_app.management.plugin_verbs import lifecycle
from plugins_app.models import Plugin


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "_PATIENCE", 0.0)


def plugin(*arguments: str) -> str:
    out = StringIO()
    call_command("plugin", *arguments, stdout=out)
    return out.getvalue()


def plugin_json(*arguments: str) -> Any:
    return json.loads(plugin(*arguments, "--json"))


def test_from_a_scan_to_the_end(loud: Plugin, write_plugin: Any) -> None:
    write_plugin("other")
    assert "added: other" in plugin("scan")
    assert "loud" in plugin("list")
    assert {row["id"] for row in plugin_json("list")["plugins"]} >= {"loud", "other"}
    assert loud.sha256 in plugin("show", "loud")
    with pytest.raises(CommandError, match="waits for approval"):
        plugin("load", "loud")
    assert plugin_json("approve", "loud", loud.sha256)["state"] == "validated"
    assert "will run" in plugin("load", "loud")
    assert plugin_json("reload", "loud")["state"] == "loaded"
    assert "runs nowhere" in plugin("unload", "loud")
    assert "is enabled" in plugin("enable", "loud")
    assert plugin_json("disable", "loud")["enabled"] is False


def test_another_digest_is_not_approved(loud: Plugin) -> None:
    with pytest.raises(CommandError, match="others by now"):
        plugin("approve", "loud", "0" * 64)


def test_order_and_settings(approved: Plugin, tmp_path: Path) -> None:
    assert plugin_json("order", "loud")["plugins"][0] == "loud"
    assert plugin_json("config", "loud")["config"] == {"suffix": "!"}
    plugin("config", "loud", "--set", '{"suffix": "1"}')
    file = tmp_path / "settings.json"
    file.write_text('{"suffix": "2", "token": "s3cr3t"}')
    assert plugin_json("config", "loud", "--file", str(file))["config"] == {
        "suffix": "2",
        "token": None,
    }
    assert "s3cr3t" not in plugin("config", "loud", "--history")
    assert len(plugin_json("config", "loud", "--history")["changes"]) == 2
    assert plugin_json("rollback", "loud", "1")["config"] == {"suffix": "1"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["show", "missing"], "there are: .*loud"),
        (["config", "loud", "--set", "{"], "cannot be read"),
        (["config", "loud", "--set", '{"suffix": 5}'], "config.suffix"),
        (["config", "loud", "--set", "{}", "--file", "x"], "one of them"),
        (["order", "missing"], "no plugin 'missing'"),
        (["rollback", "loud", "7"], "no change 7"),
    ],
)
def test_what_cannot_be_is_said(loud: Plugin, arguments: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        plugin(*arguments)
