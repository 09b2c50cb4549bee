from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from plugins_app.answer_filter import AnswerFilter
from plugins_app.discovery import BUILT_IN
from plugins_app.fingerprint import fingerprint
from plugins_app.manifest import read_manifest
from plugins_app.outcomes import kept
from plugins_app.pipeline import PluginLink
from plugins_app.runners.in_process import InProcessRunner
from plugins_app.settings_schema import effective_settings
from plugins_app.spec import PluginSpec, Tier

Start = Callable[..., "Running"]


class Running:
    """A core plugin in its runner, called as a chain calls it."""

    def __init__(self, slug: str, config: dict[str, Any]) -> None:
        path = BUILT_IN / "core" / slug
        path = path if path.is_dir() else path.with_suffix(".py")
        manifest = read_manifest(path)
        self.spec = PluginSpec(
            slug, manifest.version, Tier.CORE, path, fingerprint(path), manifest.hooks,
            effective_settings(manifest.settings_schema, config),
        )  # fmt: skip
        self.runner = InProcessRunner(self.spec)
        self.runner.start()

    def call(self, hook: Any, context: Any) -> Any:
        return kept(context, self.runner.call(hook, context))

    def __call__(self, context: Any) -> Any:
        """By the one hook that it has."""
        return self.call(self.spec.hooks[0], context)

    def filtered(self, *pieces: str) -> list[str]:
        """What comes out of a stream of these pieces, one for each and one at the end."""
        link: PluginLink = self
        chunks = AnswerFilter([link], request_id="r", model="m")
        return [*map(chunks.push, pieces), chunks.push("", is_last=True)]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a core plugin with these settings."""
    running: list[Running] = []

    def make(slug: str, **config: Any) -> Running:
        running.append(Running(slug, config))
        return running[-1]

    yield make
    for plugin in running:
        plugin.runner.close()
