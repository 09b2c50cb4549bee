"""A changed file is noticed by one process, without its content being read over and over."""

from __future__ import annotations

import os
from typing import Any

import pytest

from plugins_app import watcher
from plugins_app.models import Plugin
from plugins_app.watcher import Watcher

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def always_time_for_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "INTERVAL", 0.0)


def test_a_change_is_noticed_and_rest_is_cheap(redis_client: Any, write_plugin: Any) -> None:
    looks = Watcher(redis_client)
    path = write_plugin()
    assert looks.scan_if_changed()
    assert Plugin.objects.filter(slug="loud").exists()
    assert not looks.scan_if_changed()
    write_plugin("other")
    assert looks.scan_if_changed()
    before, seen = Plugin.objects.get(slug="loud").sha256, path.stat()
    path.write_text(path.read_text().replace("Loud", "Lout"))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert looks.scan_if_changed()
    assert Plugin.objects.get(slug="loud").sha256 != before


def test_only_one_process_looks(redis_client: Any, write_plugin: Any) -> None:
    first, second = Watcher(redis_client), Watcher(redis_client)
    write_plugin()
    assert first.scan_if_changed()
    assert not second.scan_if_changed()
    redis_client.delete("lg:plugins:watcher")  # the first one has died
    assert second.scan_if_changed()
    assert not first.scan_if_changed()


def test_a_look_is_taken_every_few_seconds_at_most(
    redis_client: Any, write_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = Watcher(redis_client)
    looks.scan_if_changed()
    monkeypatch.setattr(watcher, "INTERVAL", 1000.0)
    write_plugin()
    assert not looks.scan_if_changed()


def test_a_redis_that_is_away_is_no_obstacle(
    settings: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = f"unix://{tmp_path}/nothing.sock"
    monkeypatch.setattr(watcher, "_watcher", None)
    assert not watcher.scan_if_changed()
