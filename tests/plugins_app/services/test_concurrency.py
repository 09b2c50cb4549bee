"""Several at once: nothing is lost, nothing is made twice, nobody waits for ever."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from llamagpu.http.errors import AppError
from monitoring.models import AuditLog
from plugins_app.fingerprint import fingerprint
from plugins_app.models import Plugin
from plugins_app.services.arrangement import change_plugin
from plugins_app.services.configuration import configure_plugin
from plugins_app.services.scanning import scan_plugins
from plugins_app.services.uploads import upload_plugin
from plugins_app.wanted import wanted_generation
from tests.plugins_app.conftest import source
from tests.plugins_app.test_archive import zipped

pytestmark = [
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
    pytest.mark.usefixtures("redis_client"),
]


def at_once(*deeds: Callable[[], Any]) -> list[Any]:
    def run(deed: Callable[[], Any]) -> Any:
        try:
            return deed()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(deeds)) as pool:
        return list(pool.map(run, deeds))


def test_a_plugin_that_two_find_at_once_is_there_once(write_plugin: Any) -> None:
    write_plugin()
    results = at_once(*[scan_plugins] * 4)
    assert sum("loud" in result.added for result in results) == 1
    assert Plugin.objects.filter(slug="loud").count() == 1
    assert AuditLog.objects.filter(action="plugin.discovered", target_name="loud").count() == 1


def test_each_change_has_a_number_of_its_own(loud: Plugin, write_plugin: Any) -> None:
    write_plugin("other")
    scan_plugins()
    other, before = Plugin.objects.get(slug="other"), wanted_generation()
    deeds = [
        lambda plugin=plugin, order=order: (
            change_plugin(actor=None, plugin=plugin, changes={"order": order}).generation
        )
        for plugin in (loud, other)
        for order in (1, 2, 3)
    ]
    generations = at_once(*deeds, lambda: scan_plugins() and None)
    changed = [generation for generation in generations if generation is not None]
    assert wanted_generation() == before + 6
    assert sorted(changed) == list(range(before + 1, before + 7))


def test_settings_of_two_at_once_have_a_history_of_both(approved: Plugin) -> None:
    at_once(
        *[
            lambda suffix=suffix: configure_plugin(
                actor=None, plugin=approved, config={"suffix": suffix}
            )
            for suffix in ("1", "2", "3")
        ]
    )
    entries = list(approved.settings_history.order_by("number"))
    assert [entry.number for entry in entries] == [1, 2, 3]
    for earlier, later in itertools.pairwise(entries):
        assert later.before == earlier.after


def test_of_uploads_with_one_name_one_is_taken(plugin_folder: Any) -> None:
    archives = [zipped({"quiet.py": source(name=f"Quiet {number}")}) for number in range(6)]

    def upload(content: bytes) -> str:
        try:
            return upload_plugin(actor=None, content=content).name
        except AppError as error:
            return str(error.code)

    said = at_once(*[lambda content=content: upload(content) for content in archives])
    assert sorted(said)[:5] == ["CONFLICT"] * 5
    (name,) = (word for word in said if word != "CONFLICT")
    row = Plugin.objects.get(slug="quiet")
    assert row.name == name
    assert fingerprint(Path(row.path)) == row.sha256
