"""A plugin that hangs and dies in a running portal: others are served, it comes back, it goes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import Stack, wait_until

SLUG = "turncoat"
SOURCE = """
import os
import time
from dataclasses import replace

from plugins_app.base import BasePlugin

PLUGIN_METADATA = {
    "name": "Turncoat",
    "version": "1.0.0",
    "author": "Somebody",
    "description": "Hangs, dies or serves",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "output_processor",
    "hooks": ["prompt", "result"],
}


class Turncoat(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, input_data):
        if "hang" in input_data.text:
            time.sleep(1000)
        if "die" in input_data.text:
            os._exit(1)
        if hasattr(input_data, "finish_reason"):
            return replace(input_data, text=input_data.text + " [seen]")
        return input_data
"""


class Plugin:
    def __init__(self, stack: Stack) -> None:
        self._stack = stack

    def post(self, verb: str, **body: Any) -> dict[str, Any]:
        answer = httpx.post(
            f"{self._stack.url}/api/plugins/{SLUG}/{verb}",
            json=body,
            headers=self._stack.headers,
            timeout=60,
        )
        assert answer.is_success, answer.text
        return dict(answer.json())

    def shown(self) -> dict[str, Any] | None:
        answer = httpx.get(
            f"{self._stack.url}/api/plugins/{SLUG}", headers=self._stack.headers, timeout=60
        )
        return dict(answer.json()["plugin"]) if answer.status_code == 200 else None

    def pid(self) -> int | None:
        shown = self.shown()
        return shown["workers"][0]["pid"] if shown and shown["workers"] else None


@pytest.fixture
def plugin(stack: Stack) -> Iterator[Plugin]:
    folder = stack.data_dir / "plugins" / "user"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{SLUG}.py"
    file.write_text(SOURCE, encoding="utf-8")
    plugin = Plugin(stack)
    stack.manage("plugin", "scan")
    shown = plugin.shown()
    assert shown is not None
    plugin.post("approve", sha256=shown["sha256"])
    plugin.post("load")
    wait_until(lambda: (plugin.shown() or {}).get("state") == "active", "the plugin runs")
    yield plugin
    plugin.post("unload")
    file.unlink()


def ask(stack: Stack, prompt: str) -> str:
    return stack.text({"text": prompt, "max_tokens": 2, "temperature": 0})


def test_one_that_hangs_and_dies_disturbs_nobody(stack: Stack, plugin: Plugin) -> None:
    assert ask(stack, "Hello").endswith(" [seen]")
    shown = plugin.shown()
    assert shown is not None
    assert {"files", "network", "processes"} <= set(shown["workers"][0]["isolation"])
    for attack in ("hang", "die"):
        first = plugin.pid()
        assert first is not None
        with ThreadPoolExecutor(1) as other:
            attacked = other.submit(ask, stack, f"Please {attack}")
            ask(stack, "Hello")  # another request, served meanwhile
            attacked.result(120)
        wait_until(lambda: plugin.pid() not in (None, first), "it came back")  # noqa: B023
        assert not psutil.pid_exists(first)
        wait_until(lambda: ask(stack, "Hello").endswith(" [seen]"), "it serves again")
    health = wait_until(lambda: (plugin.shown() or {})["health"], "its health")
    wait_until(
        lambda: {"timeout", "died"} <= (plugin.shown() or {})["health"]["errors"].keys(),
        "its faults are counted",
    )
    assert health["calls"] > 0


def test_nothing_of_it_is_left_when_it_is_unloaded(stack: Stack, plugin: Plugin) -> None:
    pid = plugin.pid()
    assert pid is not None
    process = psutil.Process(pid)
    plugin.post("unload")
    _, alive = psutil.wait_procs([process], timeout=60)
    assert alive == []
    assert not ask(stack, "Hello").endswith(" [seen]")
