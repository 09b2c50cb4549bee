"""How progress looks on a terminal, in a log, to a program."""

from __future__ import annotations

import io
import json

from inference.pulling.progress import BarProgress, JsonProgress, LineProgress, Progress


def shown(progress: Progress, stream: io.StringIO) -> str:
    for stage in ("download", "convert"):
        for step in range(1001):
            progress.update(stage, step / 1000)
    progress.close()
    return stream.getvalue()


def test_a_log_gets_a_line_per_tenth() -> None:
    stream = io.StringIO()
    lines = shown(LineProgress(stream), stream).splitlines()
    assert lines[:3] == ["Downloading 0%", "Downloading 10%", "Downloading 20%"]
    assert lines[-1] == "Converting 100%"
    assert len(lines) == 22


def test_a_terminal_gets_one_bar_per_stage() -> None:
    stream = io.StringIO()
    text = shown(BarProgress(stream), stream)
    assert text.count("\n") == 2
    assert text.count("\r") == 202
    assert text.endswith("\rConverting   " + "█" * 30 + " 100%\n")


def test_a_program_gets_objects() -> None:
    stream = io.StringIO()
    lines = shown(JsonProgress(stream), stream).splitlines()
    assert json.loads(lines[420]) == {"stage": "download", "fraction": 0.42}


def test_an_odd_fraction_does_not_break_the_bar() -> None:
    stream = io.StringIO()
    bar = BarProgress(stream)
    bar.update("download", -1)
    bar.update("download", 7)
    bar.close()
    assert "  0%" in stream.getvalue()
    assert stream.getvalue().endswith("100%\n")
