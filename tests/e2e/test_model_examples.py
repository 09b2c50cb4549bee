"""The example of docs/models.md does what the page says, and `manage.py run` talks to the model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MODEL
from tests.e2e.conftest import Stack
from tests.environment import MODEL_ROOT, PROJECT_ROOT

PAGE = (PROJECT_ROOT / "docs" / "models.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("models")
    (root / MODEL).symlink_to(MODEL_ROOT / MODEL)
    (root / "team").mkdir()
    shutil.copytree(MODEL_ROOT / MODEL, root / "my-model")
    stack = Stack(tmp_path_factory.mktemp("data"), model_root=root)
    try:
        stack.wait_ready()
        yield stack
    finally:
        stack.stop()


def run(stack: Stack, *command: str) -> subprocess.CompletedProcess[str]:
    key = stack.headers["Authorization"].removeprefix("Bearer ")
    return subprocess.run(
        command,
        cwd=PROJECT_ROOT,
        env={**os.environ, **stack.environment, "KEY": key},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_model_answers_in_the_terminal(own_stack: Stack) -> None:
    words = (MODEL, "What is the capital of France?", "--temperature", "0", "--max-tokens", "20")
    done = run(own_stack, sys.executable, "manage.py", "run", *words)
    assert done.returncode == 0, done.stderr
    assert "Paris" in done.stdout


def test_the_way_from_a_folder_to_its_end(own_stack: Stack) -> None:
    (example,) = re.findall(r"```sh\n(URL=.*?)```", PAGE, re.DOTALL)
    example = example.replace("http://127.0.0.1:5000", own_stack.url)
    # The folder that `serve` has found at its start is registered by hand in the example.
    run(own_stack, sys.executable, "manage.py", "rm", "my-model", "--keep-files")
    done = run(own_stack, "bash", "-ec", example)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert '"state":"removed"' in last.replace(" ", "")
    assert Path(own_stack.environment["LLAMA_MODEL_PATH"], "my-model", "config.json").is_file()
