"""plugin new, check, try: from nothing to a plugin that keeps to the contract, and what the checks find."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from plugins_app.base import PluginCategory
from plugins_app.discovery import BUILT_IN

FILE = """
import time
from dataclasses import replace
from plugins_app.base import *

PLUGIN_METADATA = {{
    "name": "Test", "version": "1.0.0", "author": "me", "description": "x", "dependencies": [],
    "compatibility": ["cpu"], "category": "{category}",
}}

class Test(BasePlugin):
    metadata = PLUGIN_METADATA

    def execute(self, context):
        {body}
"""
SETTINGS = {"system_prompt": {"text": "Be brief."}, "stop_phrase": {"phrases": ["llama"]}}
SHIPPED = sorted(
    path
    for tier in ("core", "community")
    for path in (BUILT_IN / tier).iterdir()
    if not path.name.startswith("_")
)


def plugin(*arguments: str) -> str:
    out = StringIO()
    call_command("plugin", *arguments, stdout=out)
    return out.getvalue()


def check(path: Path, **config: Any) -> dict[str, Any]:
    """The findings by name, good or not."""
    out = StringIO()
    try:
        call_command(
            "plugin", "check", str(path), "--config", json.dumps(config), "--json", stdout=out
        )
    except CommandError as error:
        assert "does not keep to the contract" in str(error)
    return {item["name"]: item for item in json.loads(out.getvalue())["findings"]}


def write(folder: Path, body: str, category: str = "pre_processor") -> Path:
    path = folder / "test.py"
    path.write_text(FILE.format(body=body, category=category))
    return path


@pytest.mark.parametrize("category", [*PluginCategory])
def test_a_new_plugin_keeps_to_the_contract(category: str, tmp_path: Path) -> None:
    said = plugin("new", "my_plugin-2", "--category", category, "--folder", str(tmp_path))
    path = tmp_path / "my_plugin-2.py"
    assert str(path) in said
    findings = check(path)
    assert {item["is_good"] for item in findings.values()} == {True}
    assert len(findings) >= 3


def test_nothing_is_written_over(tmp_path: Path) -> None:
    plugin("new", "mine", "--folder", str(tmp_path))
    with pytest.raises(CommandError, match="File exists"):
        plugin("new", "mine", "--folder", str(tmp_path))
    with pytest.raises(CommandError, match="is no id"):
        plugin("new", "../mine", "--folder", str(tmp_path))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_what_is_shipped_keeps_to_the_contract(path: Path) -> None:
    findings = check(path, **SETTINGS.get(path.stem, {}))
    assert [item for item in findings.values() if item["is_good"] is not True] == []


@pytest.mark.parametrize(
    ("category", "body", "name", "words"),
    [
        ("pre_processor", "raise ValueError('oh')", "prompt", "oh"),
        ("pre_processor", "return 'text'", "prompt", "garbage"),
        ("pre_processor", "return replace(context, text='x')", "prompt", "a text is there"),
        ("stream_filter", "return replace(context, state={'held': context.text}, "
         "text=context.state.get('held', ''))", "pieces", "the border of two pieces"),
        ("stream_filter", "return replace(context, text=context.text.replace('llama', ''))", "pieces",
         "to another text than as a whole"),
        ("model_adapter", "return replace(context, messages=())", "adapt", "messages are there"),
        ("output_processor", "time.sleep(60)", "result", "timeout"),
    ],
)  # fmt: skip
def test_what_breaks_the_contract_is_named(
    category: str, body: str, name: str, words: str, tmp_path: Path
) -> None:
    finding = check(write(tmp_path, body, category))[name]
    assert finding["is_good"] is False
    assert words in finding["words"]


def test_what_answers_in_two_ways_is_worth_a_look(tmp_path: Path) -> None:
    body = "return replace(context, text=str(time.time_ns()))"
    path = write(tmp_path, body, "output_processor")
    assert check(path)["result"]["is_good"] is None
    assert "in two ways" in plugin("check", str(path))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("", "PLUGIN_METADATA: is missing"),
        ("def (", "is not Python"),
        (FILE.format(category="magic", body="pass"), "category: must be one of"),
    ],
)
def test_a_file_that_is_no_plugin_is_told_why(source: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "test.py").write_text(source)
    with pytest.raises(CommandError, match=words):
        plugin("check", str(tmp_path / "test.py"))


def test_settings_are_checked_too(tmp_path: Path) -> None:
    path = BUILT_IN / "core" / "system_prompt.py"
    with pytest.raises(CommandError, match="config"):
        plugin("check", str(path))
    with pytest.raises(CommandError, match="no JSON"):
        plugin("check", str(path), "--config", "{")
    with pytest.raises(CommandError, match="is not there"):
        plugin("check", str(tmp_path / "nowhere.py"))


def test_a_plugin_that_does_not_start_is_told_why(tmp_path: Path) -> None:
    path = write(tmp_path, "return context")
    path.write_text(path.read_text() + "\n    def initialize(self):\n        return False\n")
    assert "did not return True" in check(path)["starts"]["words"]


def test_a_file_is_tried(tmp_path: Path) -> None:
    path = str(write(tmp_path, "return replace(context, text=context.text.upper())"))
    assert json.loads(plugin("try", path, "--text", "hi", "--json"))["result"]["text"] == "HI"
    said = plugin("try", path, "--text", "hi")
    assert "prompt: answered in" in said
    assert '"text": "HI"' in said


def test_a_refusal_is_an_answer_too(tmp_path: Path) -> None:
    path = str(write(tmp_path, "raise PluginRefusal('not that')"))
    trial = json.loads(plugin("try", path, "--text", "hi", "--json"))
    assert (trial["outcome"], trial["reason"]) == ("refused", "not that")


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_a_core_plugin_is_tried_by_its_name() -> None:
    plugin("scan")
    trial = json.loads(
        plugin("try", "pii_redactor", "--hook", "chunk", "--text", "a@b.io", "--json")
    )
    assert trial["result"]["text"] == "[EMAIL]"
    with pytest.raises(CommandError, match="has prompt, chunk alone"):
        plugin("try", "pii_redactor", "--hook", "result", "--text", "x")
