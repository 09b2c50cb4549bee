"""`manage.py pull` as people, programs and `serve` call it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from inference.management.commands import pull as command
from inference.pulling import pull as service
from inference.pulling.sources import WheelSource

MakeSource = Callable[..., WheelSource]


@pytest.fixture
def tiny_is_built_in(
    tmp_path: Path,
    settings: Settings,
    make_source: MakeSource,
    converter: Callable[..., tuple[str, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """The tiny wheel takes the built-in model's place; returns the model root."""
    source, stand_in = make_source(), converter()
    settings.LLAMA = replace(settings.LLAMA, model_path=tmp_path / "models", default_model="tiny")
    monkeypatch.setattr(command, "BUILT_IN", source)
    monkeypatch.setattr(command, "find_source", lambda spelling: source)
    monkeypatch.setattr(
        command,
        "pull_model",
        lambda *args, **options: service.pull_model(*args, **options, converter=stand_in),
    )
    return tmp_path / "models"


def said(*arguments: str, **options: object) -> str:
    out = io.StringIO()
    call_command("pull", *arguments, "--files-only", stdout=out, **options)
    return out.getvalue()


def test_it_says_where_the_model_is(tiny_is_built_in: Path) -> None:
    assert said().endswith(f"tiny is in {tiny_is_built_in / 'tiny'}\n")
    assert said() == f"tiny is already there and intact: {tiny_is_built_in / 'tiny'}\n"


def test_a_program_reads_every_line_as_json(tiny_is_built_in: Path) -> None:
    lines = [json.loads(line) for line in said("--json").splitlines()]
    assert {line["stage"] for line in lines[:-1]} == {"download", "unpack", "convert"}
    assert lines[-1] == {
        "model": "tiny",
        "path": str(tiny_is_built_in / "tiny"),
        "status": "pulled",
    }
    assert json.loads(said("--json"))["status"] == "present"


def test_if_needed_pulls_once_and_is_silent_after(tiny_is_built_in: Path) -> None:
    assert "tiny is in" in said(if_needed=True)
    assert said(if_needed=True) == ""


def test_if_needed_leaves_another_default_model_alone(
    tiny_is_built_in: Path, settings: Settings
) -> None:
    settings.LLAMA = replace(settings.LLAMA, default_model="other")
    assert said(if_needed=True) == ""
    assert not tiny_is_built_in.exists()


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(CommandError, match="'wheel:evil==1' is no source"):
        said("wheel:evil==1")
