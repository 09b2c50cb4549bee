"""Plugins written to a folder, and a folder of plugins that the portal looks through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.plugins_app.stage import Stage

SOURCE = """
from plugins_app.base import BasePlugin

PLUGIN_METADATA = {{
    "name": "{name}",
    "version": "{version}",
    "author": "Somebody",
    "description": "Says it louder",
    "dependencies": [],
    "compatibility": ["cuda", "rocm", "cpu"],
    "category": "{category}",
}}
{schema}

class Plugin(BasePlugin):
    def execute(self, input_data):
        return input_data

    @property
    def metadata(self):
        return PLUGIN_METADATA
"""

WritePlugin = Callable[..., Path]


def source(
    name: str = "Loud", version: str = "1.0.0", category: str = "pre_processor", schema: Any = None
) -> str:
    given = "" if schema is None else f"SETTINGS_SCHEMA = {schema!r}"
    return SOURCE.format(name=name, version=version, category=category, schema=given)


@pytest.fixture
def plugin_folder(tmp_path: Path, settings: Any) -> Path:
    """A folder that LLAMA_PLUGIN_PATH names; the data directory's own is there too."""
    root = tmp_path / "plugins"
    for tier in ("core", "community", "user"):
        (root / tier).mkdir(parents=True)
    settings.LLAMA = replace(settings.LLAMA, plugin_paths=(root,), data_dir=tmp_path / "data")
    return root


@pytest.fixture
def write_plugin(plugin_folder: Path) -> WritePlugin:
    def write(slug: str = "loud", tier: str = "user", **kwargs: Any) -> Path:
        path = plugin_folder / tier / f"{slug}.py"
        path.write_text(source(**kwargs))
        return path

    return write


@pytest.fixture(scope="module")
def shared_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    stage = Stage(tmp_path_factory.mktemp("plugins"))
    yield stage
    stage.close(with_shared=True)


@pytest.fixture
def stage(shared_stage: Stage) -> Iterator[Stage]:
    yield shared_stage
    shared_stage.close(with_shared=False)


@pytest.fixture
def loud(write_plugin: WritePlugin, redis_client: Any, db: None) -> Any:
    """A user plugin that was found and waits for approval."""
    from plugins_app.models import Plugin
    from plugins_app.services.scanning import scan_plugins

    write_plugin(schema=SETTINGS)
    scan_plugins()
    return Plugin.objects.get(slug="loud")


SETTINGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "suffix": {"type": "string", "default": "!", "maxLength": 5},
        "token": {"type": "string", "writeOnly": True, "minLength": 4},
    },
}


@pytest.fixture
def approved(loud: Any) -> Any:
    from plugins_app.services.approval import approve_plugin

    return approve_plugin(actor=None, plugin=loud, sha256=loud.sha256)
