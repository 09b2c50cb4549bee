"""`python -m inference.engine`: one prompt, no portal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "inference.engine", "--threads", "1", *arguments],
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
    )


def test_text_goes_to_stdout_and_equals_the_json(tiny_model: Path) -> None:
    options = ("--model", str(tiny_model), "--temperature", "0", "--max-tokens", "9")
    plain = run(*options, "一丁丂")
    assert plain.returncode == 0, plain.stderr
    report = json.loads(run(*options, "--json", "-", stdin="一丁丂").stdout)
    assert plain.stdout == report["text"] + "\n"
    assert report["usage"]["prompt_tokens"] == 3
    assert report["usage"]["completion_tokens"] <= 9


def test_errors_are_one_line_on_stderr(tiny_model: Path, tmp_path: Path) -> None:
    for arguments, reason in (
        (("--model", str(tmp_path / "no"), "x"), "no such model folder"),
        (("--model", str(tiny_model), "--max-tokens", "100000", "一"), "exceed the 512"),
        (("--model", str(tiny_model), "--temperature", "9", "一"), "temperature is 9"),
        (("--model", str(tiny_model), "--backend", "rocm", "一"), "without ROCm"),
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("error: ")
        assert reason in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_reader_that_leaves_ends_it_quietly(tiny_model: Path) -> None:
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "inference.engine", "--threads", "1"),
            *("--model", str(tiny_model), "--max-tokens", "500", "一"),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()
