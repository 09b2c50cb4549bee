"""The table of plugins follows the folders, whatever lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from monitoring.models import AuditLog
from plugins_app import inspection
from plugins_app.models import Plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.states import PluginState
from plugins_app.wanted import wanted_generation, wanted_specs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_client")]


def row(slug: str = "loud") -> Plugin:
    return Plugin.objects.get(slug=slug)


def test_a_plugin_is_found_and_waits_for_approval(write_plugin: Any) -> None:
    path = write_plugin(name="Loud", version="1.2.3")
    result = scan_plugins()
    assert "loud" in result.added
    found = row()
    assert (found.state, found.tier, found.path) == ("discovered", "user", str(path))
    assert (found.name, found.version, found.category) == ("Loud", "1.2.3", "pre_processor")
    assert found.metadata["hooks"] == ["prompt"]
    assert not found.is_approved
    assert AuditLog.objects.filter(action="plugin.discovered", target_name="loud").count() == 1


def test_a_second_scan_changes_nothing(write_plugin: Any) -> None:
    write_plugin()
    scan_plugins()
    before, entries = wanted_generation(), AuditLog.objects.count()
    result = scan_plugins()
    assert (result.added, result.changed, result.gone) == ([], [], [])
    assert (wanted_generation(), AuditLog.objects.count()) == (before, entries)


def test_what_is_broken_is_listed_and_keeps_nothing_else_from_being_found(
    write_plugin: Any, plugin_folder: Path
) -> None:
    write_plugin()
    (plugin_folder / "user" / "broken.py").write_text("def (")
    (plugin_folder / "user" / "bytes.py").write_bytes(b"\xff")
    (plugin_folder / "community" / "loud.py").write_text("x = 1")
    result = scan_plugins()
    assert row("broken").state == PluginState.REJECTED
    assert "line 1" in row("broken").problem
    assert "UTF-8" in row("bytes").problem
    assert set(result.rejected) >= {"broken", "bytes"}


def test_what_it_needs_is_held_against_what_is_there(
    write_plugin: Any, plugin_folder: Path
) -> None:
    path = write_plugin()
    needs = '["django>=5", "django<2", "no-such-thing>=1"]'
    path.write_text(path.read_text().replace("[],", f"{needs},", 1))
    scan_plugins()
    assert "django<2 (installed: " in row().problem
    assert "no-such-thing>=1 (not installed)" in row().problem
    assert "django>=5" not in row().problem


def test_what_nobody_foresaw_in_one_file_hides_no_other(
    write_plugin: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    write_plugin("odd", name="Odd")
    write_plugin()
    read = inspection.read_manifest

    def stumble(path: Path) -> Any:
        if path.stem == "odd":
            raise RuntimeError
        return read(path)

    monkeypatch.setattr(inspection, "read_manifest", stumble)
    scan_plugins()
    assert row("odd").problem == "file: could not be inspected: RuntimeError"
    assert row().state == PluginState.DISCOVERED


def test_what_fits_no_backend_of_this_machine_is_rejected(write_plugin: Any) -> None:
    path = write_plugin()
    path.write_text(path.read_text().replace('["cuda", "rocm", "cpu"]', '["rocm"]'))
    scan_plugins()
    assert row().problem.startswith("compatibility: it needs rocm")


def test_a_changed_file_stops_what_was_approved(write_plugin: Any) -> None:
    path = write_plugin()
    scan_plugins()
    found = row()
    Plugin.objects.update(
        is_enabled=True, state="loaded", approved_sha256=found.sha256, sha256=found.sha256
    )
    Plugin.objects.exclude(slug="loud").delete()
    (spec,) = wanted_specs()
    assert (spec.slug, spec.sha256, spec.path) == ("loud", found.sha256, path)
    generation = wanted_generation()
    path.write_text(path.read_text() + "# changed\n")
    scan_plugins()
    assert row().state == PluginState.DISCOVERED
    assert row().is_enabled
    assert wanted_specs() == ()
    assert wanted_generation() > generation
    entry = AuditLog.objects.get(action="plugin.files_changed")
    assert entry.before["sha256"] == found.sha256
    path.write_text(path.read_text().removesuffix("# changed\n"))
    scan_plugins()
    assert row().state == PluginState.LOADED


def test_files_that_are_gone_are_forgotten_unless_somebody_wanted_them(write_plugin: Any) -> None:
    path, other = write_plugin(), write_plugin("other")
    scan_plugins()
    Plugin.objects.filter(slug="loud").update(approved_sha256=row().sha256)
    text = path.read_text()
    path.unlink()
    other.unlink()
    result = scan_plugins()
    assert set(result.gone) == {"loud", "other"}
    assert not Plugin.objects.filter(slug="other").exists()
    assert (row().state, row().problem) == ("rejected", "its files are not there any more")
    path.write_text(text)
    scan_plugins()
    assert row().state == PluginState.VALIDATED


def test_a_secret_stays_one_when_the_schema_forgets_it(write_plugin: Any) -> None:
    def schema(**extra: Any) -> dict[str, Any]:
        return {"type": "object", "properties": {"a": {"type": "string", **extra}}}

    write_plugin(schema=schema(writeOnly=True))
    scan_plugins()
    Plugin.objects.filter(slug="loud").update(config={"a": "sealed"})
    write_plugin(schema=schema())
    scan_plugins()
    assert row().config == {}


def test_what_comes_with_the_portal_needs_no_approval() -> None:
    scan_plugins()
    for plugin in Plugin.objects.filter(tier="core"):
        assert (plugin.state, plugin.is_enabled) == ("validated", False), plugin.problem
