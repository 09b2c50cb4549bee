"""A changed file is noticed by one process, without its content being read over and over."""

from __future__ import annotations

import os
from typing import Any

import pytest
import redis

from monitoring.live_events import FIELD, PLUGIN_EVENTS, key_of
from plugins_app import watcher
from plugins_app.models import Plugin
from plugins_app.watcher import PluginWatch, Watcher

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


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_worker_notices_by_itself_and_survives_what_goes_wrong(
    redis_client: Any, write_plugin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher, "INTERVAL", 0.05)
    write_plugin()
    failures = iter([RuntimeError("a disk that cannot be read"), redis.ConnectionError()])
    scan = watcher.scan_plugins

    def scan_or_fail() -> Any:
        if failure := next(failures, None):
            raise failure
        return scan()

    monkeypatch.setattr(watcher, "scan_plugins", scan_or_fail)
    watch = PluginWatch(redis_client)
    watch.start()
    stream = key_of(PLUGIN_EVENTS)
    told: list[bytes] = []
    last = b"0"
    while not any(b'"loud"' in event for event in told):
        ((_, entries),) = redis_client.xread({stream: last}, block=30_000)
        last = entries[-1][0]
        told += [fields[FIELD.encode()] for _, fields in entries]
    watch.close(10.0)
    assert Plugin.objects.filter(slug="loud").exists()
    assert not watch._thread.is_alive()
