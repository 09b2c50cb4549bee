"""What runs is what somebody approved and wanted, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llamagpu.http.errors import AppError
from monitoring import live_events
from monitoring.models import AuditLog
from plugins_app.base import Hook
from plugins_app.bell import Bell
from plugins_app.models import Plugin
from plugins_app.runners.base import PluginLoadError
from plugins_app.runners.factory import make_runner
from plugins_app.services.approval import approve_plugin
from plugins_app.services.arrangement import change_plugin
from plugins_app.services.configuration import configure_plugin
from plugins_app.services.lifecycle import disable_plugin, enable_plugin, reload_plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.wanted import wanted_generation, wanted_specs
from tests.conftest import Caller


def test_what_nobody_approved_is_not_loaded(loud: Plugin) -> None:
    with pytest.raises(AppError, match=f"waits for approval.*{loud.sha256}") as refused:
        enable_plugin(actor=None, plugin=loud)
    assert refused.value.code == "CONFLICT"
    assert wanted_specs() == ()


def test_an_approval_names_who_and_what(loud: Plugin, operator: Caller) -> None:
    row = approve_plugin(actor=operator.user, plugin=loud, sha256=loud.sha256.upper())
    assert (row.state, row.approved_by, row.is_approved) == ("validated", operator.user, True)
    entry = AuditLog.objects.get(action="plugin.approved")
    assert entry.after["approved_sha256"] == loud.sha256
    assert entry.actor_name == "the-operator"


def test_another_digest_is_not_approved(loud: Plugin) -> None:
    with pytest.raises(AppError, match="others by now"):
        approve_plugin(actor=None, plugin=loud, sha256="0" * 64)


def test_files_that_changed_since_the_scan_are_not_approved(loud: Plugin) -> None:
    Path(loud.path).write_text(Path(loud.path).read_text() + "# more\n")
    with pytest.raises(AppError, match="others by now"):
        approve_plugin(actor=None, plugin=loud, sha256=loud.sha256)


def test_what_is_broken_is_not_approved(loud: Plugin) -> None:
    Path(loud.path).write_text("def (")
    scan_plugins()
    with pytest.raises(AppError, match="is not Python"):
        approve_plugin(actor=None, plugin=loud, sha256=loud.sha256)
    with pytest.raises(AppError, match="cannot be loaded"):
        enable_plugin(actor=None, plugin=loud)


def test_enabled_and_disabled(approved: Plugin) -> None:
    before = wanted_generation()
    row = enable_plugin(actor=None, plugin=approved)
    (spec,) = wanted_specs()
    assert row.state == "loaded"
    assert (spec.slug, spec.sha256) == ("loud", approved.sha256)
    assert spec.generation == row.generation == wanted_generation() == before + 1
    row = disable_plugin(actor=None, plugin=row)
    assert (row.state, wanted_specs(), wanted_generation()) == ("unloaded", (), before + 2)
    disable_plugin(actor=None, plugin=row)
    assert wanted_generation() == before + 2


def test_a_reload_raises_the_generation_and_reads_the_files_again(approved: Plugin) -> None:
    with pytest.raises(AppError, match="is not loaded"):
        reload_plugin(actor=None, plugin=approved)
    row = enable_plugin(actor=None, plugin=approved)
    assert reload_plugin(actor=None, plugin=row).generation > row.generation
    Path(row.path).write_text(Path(row.path).read_text() + "# more\n")
    with pytest.raises(AppError, match="waits for approval"):
        reload_plugin(actor=None, plugin=row)


def test_missing_settings_keep_it_from_being_loaded(write_plugin: Any, loud: Plugin) -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}
    write_plugin(schema=schema)
    scan_plugins()
    row = Plugin.objects.get(slug="loud")
    approve_plugin(actor=None, plugin=row, sha256=row.sha256)
    with pytest.raises(AppError, match="'a' is a required property") as refused:
        enable_plugin(actor=None, plugin=row)
    assert refused.value.code == "INVALID_INPUT"
    configure_plugin(actor=None, plugin=row, config={"a": "b"})
    assert enable_plugin(actor=None, plugin=row).state == "loaded"


def test_settings_that_a_new_version_does_not_take_stop_it_until_they_are_mended(
    write_plugin: Any, approved: Plugin
) -> None:
    enable_plugin(actor=None, plugin=approved)
    write_plugin(schema={"type": "object", "required": ["a"], "properties": {"a": {}}})
    scan_plugins()
    row = Plugin.objects.get(slug="loud")
    row = approve_plugin(actor=None, plugin=row, sha256=row.sha256)
    assert (row.state, row.problem[:10]) == ("rejected", "settings: ")
    row = configure_plugin(actor=None, plugin=row, config={"a": 1})
    assert (row.state, row.problem) == ("loaded", "")


def test_what_readers_see_of_wrong_settings_quotes_none(
    approved: Plugin, write_plugin: Any
) -> None:
    configure_plugin(actor=None, plugin=approved, config={"suffix": "quux"})
    enable_plugin(actor=None, plugin=approved)
    write_plugin(schema={"type": "object", "properties": {"suffix": {"enum": ["!"]}}})
    scan_plugins()
    row = Plugin.objects.get(slug="loud")
    row = approve_plugin(actor=None, plugin=row, sha256=row.sha256)
    assert row.problem == "settings: config.suffix: does not keep to enum"
    with pytest.raises(AppError, match="'quux' is not one of"):  # for who may write them
        enable_plugin(actor=None, plugin=row)


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_change_rings_the_workers_and_is_told_to_who_watches(
    approved: Plugin, redis_client: Any
) -> None:
    bell = Bell(redis_client)
    bell.wait(0.0)
    redis_client.delete(live_events.key_of(live_events.PLUGIN_EVENTS))
    enable_plugin(actor=None, plugin=approved)
    assert bell.wait(5.0) or bell.wait(5.0)
    bell.close()
    ((_, fields),) = redis_client.xrange(live_events.key_of(live_events.PLUGIN_EVENTS))
    assert b'"plugin_enabled"' in fields[b"event"]
    assert b'"loaded"' in fields[b"event"]


def test_one_whose_secret_cannot_be_opened_leaves_the_others_running(
    approved: Plugin, settings: Any, write_plugin: Any
) -> None:
    write_plugin("other")
    scan_plugins()
    other = Plugin.objects.get(slug="other")
    approve_plugin(actor=None, plugin=other, sha256=other.sha256)
    enable_plugin(actor=None, plugin=other)
    configure_plugin(actor=None, plugin=approved, config={"token": "secret"})
    enable_plugin(actor=None, plugin=approved)
    assert len(wanted_specs()) == 2
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-secret", []
    assert [spec.slug for spec in wanted_specs()] == ["other"]


def test_without_one_that_is_fail_closed_no_request_passes(
    approved: Plugin, settings: Any, redis_client: Any
) -> None:
    configure_plugin(actor=None, plugin=approved, config={"token": "s3cr3t"})
    changes = {"policy": "fail_closed", "enabled": True}
    row = change_plugin(actor=None, plugin=approved, changes=changes)
    path, text = Path(row.path), Path(row.path).read_text()
    (spec,) = wanted_specs()
    assert spec.sha256 == row.sha256
    for break_it in (
        lambda: path.write_text(text + "# more"),
        lambda: path.write_text("def ("),
        path.unlink,
    ):
        break_it()
        scan_plugins()
        (spec,) = wanted_specs()
        assert (spec.sha256, spec.policy, spec.config) == ("", "fail_closed", {})
        assert spec.hooks == (Hook.PROMPT,)
        with pytest.raises(PluginLoadError):
            make_runner(spec).start()
    path.write_text(text)
    scan_plugins()
    assert wanted_specs()[0].sha256 == row.sha256
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another-secret", []
    assert wanted_specs()[0].sha256 == ""
    disable_plugin(actor=None, plugin=row)
    assert wanted_specs() == ()
