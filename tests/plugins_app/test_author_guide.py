"""A plugin that is written from docs/plugins.md alone works, and the page says what the contract says."""

from __future__ import annotations

import re
from dataclasses import fields
from io import StringIO
from pathlib import Path

from django.core.management import call_command

from plugins_app.answer_filter import AnswerFilter
from plugins_app.authoring.contract import spec_of
from plugins_app.base import CONTEXT_OF, ChunkContext, Hook, PluginCategory
from plugins_app.breaker import Breaker
from plugins_app.discovery import BUILT_IN
from plugins_app.link import Link
from plugins_app.recorder import Recorder
from plugins_app.runners.isolated import IsolatedRunner
from tests.environment import PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
GUIDE = PAGE.partition("\n## Writing a plugin\n")[2].partition("\n## ")[0]


def written(folder: Path) -> Path:
    (source,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    path = folder / "quiet.py"
    path.write_text(source)
    return path


def test_the_plugin_of_the_page_keeps_to_the_contract(tmp_path: Path) -> None:
    out = StringIO()
    call_command("plugin", "check", str(written(tmp_path)), stdout=out)
    assert "FAIL" not in out.getvalue()
    assert "note" not in out.getvalue()


def test_it_does_what_the_page_says(tmp_path: Path) -> None:
    """In a process of its own, behind its walls."""
    spec = spec_of(written(tmp_path), {"least": 3})
    runner = IsolatedRunner(spec)
    runner.start()
    try:
        link = Link(spec, runner, Breaker(), Recorder("w"))
        chunks = AnswerFilter([link], request_id="r", model="m")
        out = [chunks.push(text) for text in ("Please do N", "OT SHOU", "TED, I s", "ay OK")]
        assert [*out, chunks.push("", is_last=True)] == [
            "Please do ", "not ", "shouted, I ", "say ", "OK",
        ]  # fmt: skip
        assert chunks.acted == ["quiet"]
    finally:
        runner.close()


def test_the_page_names_every_hook_with_what_it_may_change() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+Context)` \|", GUIDE, re.MULTILINE))
    assert rows == {hook.value: CONTEXT_OF[hook].__name__ for hook in Hook}
    for hook, changed in re.findall(
        r"^\| `(\w+)` \| `\w+Context` \| (.*?) \|", GUIDE, re.MULTILINE
    ):
        named = set(re.findall(r"`(\w+)`", changed))
        assert named <= {item.name for item in fields(CONTEXT_OF[Hook(hook)])}
    assert {"text", "state"} <= {item.name for item in fields(ChunkContext)}


def test_the_page_names_every_category_and_every_built_in_plugin() -> None:
    assert all(f"`{category}`" in GUIDE for category in PluginCategory)
    shipped = {path.stem for tier in ("core", "community") for path in (BUILT_IN / tier).iterdir()}
    chapter = PAGE.partition("\n## Built-in plugins\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", chapter))
    assert {name for name in shipped if not name.startswith("_")} <= named
