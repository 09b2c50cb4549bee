"""A plugin is tried in a process of its own, whatever its tier, and ends with the call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamagpu.http.errors import AppError
from monitoring.models import AuditLog
from plugins_app.models import Plugin
from plugins_app.services import trial
from plugins_app.services.approval import approve_plugin
from plugins_app.services.configuration import configure_plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.services.trial import try_plugin
from tests.conftest import Caller
from tests.plugins_app.api.conftest import call
from tests.plugins_app.conftest import SETTINGS, source


def with_body(row: Plugin, body: str) -> Plugin:
    """The plugin with this code in `execute`, approved."""
    text = source(schema=SETTINGS).replace("return input_data", body)
    Path(row.path).write_text("import os, dataclasses\nfrom plugins_app.base import *\n" + text)
    scan_plugins()
    row.refresh_from_db()
    return approve_plugin(actor=None, plugin=row, sha256=row.sha256)


# What core plugins cannot guess.
NEEDED = {"phrases": ["the end"], "text": "Be brief.", "prompt": "Be brief."}
LOUDER = "return dataclasses.replace(input_data, text=input_data.text + self.config['suffix'])"


def test_it_answers_over_the_api(loud: Plugin, operator: Caller) -> None:
    with_body(loud, LOUDER)
    answer = call(operator, "POST", "/loud/try", {"text": "hi"}).json()
    assert (answer["outcome"], answer["hook"], answer["result"]["text"]) == (
        "answered",
        "prompt",
        "hi!",
    )
    body = {"text": "hi", "hook": "prompt", "config": {"suffix": "?"}}
    assert call(operator, "POST", "/loud/try", body).json()["result"]["text"] == "hi?"
    loud.refresh_from_db()
    assert (loud.config, loud.is_enabled) == ({}, False)
    entry = AuditLog.objects.filter(action="plugin.tried").first()
    assert entry is not None
    assert "hi" not in str(entry.data)


def test_it_is_tried_with_its_own_settings_and_secrets(loud: Plugin) -> None:
    body = "return dataclasses.replace(input_data, text=self.config['token'])"
    row = with_body(loud, body)
    row = configure_plugin(actor=None, plugin=row, config={"token": "s3cr3t"})
    assert try_plugin(actor=None, plugin=row, text="").result == {
        "request_id": "sample",
        "model": "sample-model",
        "text": "s3cr3t",
        "messages": None,
        "role": "admin",
    }


@pytest.mark.parametrize(
    ("body", "outcome", "reason"),
    [
        ("raise PluginRefusal('not this')", "refused", "not this"),
        ("raise ValueError('oh')", "failed", "oh"),
        ("os._exit(3)", "failed", ""),
        ("return 5", "failed", ""),
        ("while True: pass", "failed", ""),
    ],
)
def test_what_goes_wrong_is_told(loud: Plugin, body: str, outcome: str, reason: str) -> None:
    row = with_body(loud, body)
    row.budget = {"call_timeout": 0.5}
    found = try_plugin(actor=None, plugin=row, text="hi")
    assert (found.outcome, found.result) == (outcome, None)
    assert reason in (found.reason or "")


def test_what_nobody_approved_is_not_run(loud: Plugin, tmp_path: Path) -> None:
    with pytest.raises(AppError, match="waits for approval"):
        try_plugin(actor=None, plugin=loud, text="hi")


def test_files_that_changed_since_are_not_run(approved: Plugin) -> None:
    Path(approved.path).write_text(source() + "# more")
    found = try_plugin(actor=None, plugin=approved, text="hi")
    assert (found.outcome, "changed" in str(found.reason)) == ("failed", True)


@pytest.mark.parametrize("options", [{"hook": "chunk"}, {"config": {"suffix": 5}}])
def test_what_it_does_not_have_is_refused(approved: Plugin, options: Any) -> None:
    with pytest.raises(AppError) as refused:
        try_plugin(actor=None, plugin=approved, text="hi", **options)
    assert refused.value.code == "INVALID_INPUT"


def test_only_so_many_are_tried_at_once(approved: Plugin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_room", trial.threading.BoundedSemaphore(1))
    assert trial._room.acquire(blocking=False)
    with pytest.raises(AppError, match="being tried"):
        try_plugin(actor=None, plugin=approved, text="hi")


@pytest.mark.django_db
def test_each_core_plugin_can_be_tried(redis_client: Any) -> None:
    scan_plugins()
    rows = list(Plugin.objects.filter(tier="core"))
    assert rows
    for row in rows:
        config = {name: NEEDED[name] for name in (row.settings_schema or {}).get("required", ())}
        text = "The capital of France is Paris."
        found = try_plugin(actor=None, plugin=row, text=text, config=config)
        assert found.outcome == "answered", (row.slug, found.reason)
